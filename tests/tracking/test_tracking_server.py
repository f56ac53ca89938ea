"""Tracking with a real MLflow server: artifacts are sent over HTTP, and the server may die or lose its database."""

import shutil

import numpy as np
import pytest
from tests.mlflow_runs import find_differences
from tests.reports.evidence_samples import make_evidence
from tests.servers import MlflowServer
from tests.tracking.states import make_sweep, make_trial

from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.load import load_registered
from embsweep.tracking.registry.register import register_winner
from embsweep.tracking.runs import RunWriter
from embsweep.tracking.store import open_store
from embsweep.tracking.sync import MlflowSync

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, mlflow_template):
    shutil.copyfile(mlflow_template, tmp_path / "server.db")
    with MlflowServer(tmp_path) as found:
        found.start()
        yield found


@pytest.fixture
def remote(server, tmp_path):
    return open_store(tmp_path, uri=server.url, experiment="remote")


def make_states(study):
    params = {f"k{n}": "v" for n in range(150)}
    return (
        make_sweep(study, "FINISHED"),
        make_trial(study, status="FINISHED", steps=(10, 20), params=params),
        make_trial(study, 1, "FAILED", steps=(10,)),
    )


def test_a_sweep_and_its_winner_over_http(empty_cwd, remote, identity, make_model, tmp_path):
    states = make_states(identity.study_id)
    for _ in range(2):
        writer = RunWriter(remote, identity.study_id)
        for state in states:
            writer.write(state)
    client = remote.client
    assert find_differences(client, remote.experiment_id, states) == []
    assert [file.path for file in client.list_artifacts(writer.run_ids["sweep", None])] == ["config"]

    model = make_model()
    checkpoint = tmp_path / "trial" / "best"
    checkpoint.parent.mkdir()
    model.save(str(checkpoint))
    facts = WinnerRecord(writer.run_ids["trial", 0], "# the card\n", make_evidence())
    versions = [
        register_winner(remote, identity, checkpoint, registered_name="legal", facts=facts, model=model)
        for _ in range(2)
    ]
    assert [version.version for version in versions] == [1, 1]
    loaded = load_registered(remote, "legal", "challenger")
    np.testing.assert_array_equal(loaded.encode(["law tax"]), model.encode(["law tax"]))
    assert list(empty_cwd.iterdir()) == []


@pytest.mark.nightly
def test_a_server_that_dies_and_loses_its_database_gets_everything_again(server, tmp_path, identity):
    """It starts again with an empty database: the runs that were written before are missing in it."""
    states, output = make_states(identity.study_id), []

    def connect():
        return RunWriter(open_store(tmp_path, uri=server.url, experiment="remote"), identity.study_id)

    with MlflowSync(connect, output.append) as sync:
        sync.put(*states[:2])
        sync.flush()
        server.kill()
        sync.put(*states)
        assert not sync.wait(0.5)
        (server.folder / "server.db").unlink()
        server.start()
        store = sync.flush().store
    assert find_differences(store.client, store.experiment_id, states) == []
    assert output[0].startswith("MLflow does not answer")
    assert "MLflow answers again" in output[-1]
