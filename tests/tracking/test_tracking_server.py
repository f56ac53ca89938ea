"""Tracking with a real MLflow server: artifacts are sent over HTTP, and the server may die."""

import shutil
import time

import numpy as np
import pytest
from tests.servers import MlflowServer

from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.load import load_registered
from embsweep.tracking.registry.register import register_winner
from embsweep.tracking.runs import RunRef, open_sweep_run
from embsweep.tracking.store import open_store

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


def test_a_sweep_and_its_winner_over_http(empty_cwd, remote, identity, make_model, make_report, make_scores, tmp_path):
    sweep = open_sweep_run(remote, identity)
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {f"k{n}": n for n in range(150)})
    sweep.log_report(run_id, make_report())
    sweep.log_report(run_id, make_report())
    sweep.log_artifact_text("configuration.yaml", "a: 1\n")
    assert open_sweep_run(remote, identity).start_trial(RunRef(0, "trial 0"), 2, {}) == run_id
    client = remote.client()
    assert len(client.get_metric_history(run_id, "objective")) == 1
    assert len(client.get_run(run_id).data.params) == 150

    model = make_model()
    checkpoint = tmp_path / "trial" / "best"
    checkpoint.parent.mkdir()
    model.save(str(checkpoint))
    facts = WinnerRecord(run_id, 0, 0.4, "map@100", make_scores())
    versions = [register_winner(sweep, checkpoint, registered_name="legal", facts=facts) for _ in range(2)]
    assert [version.version for version in versions] == [1, 1]
    loaded = load_registered(remote, "legal", "challenger")
    np.testing.assert_array_equal(loaded.encode(["law tax"]), model.encode(["law tax"]))
    assert list(empty_cwd.iterdir()) == []


@pytest.mark.nightly
def test_a_dead_server_is_detected_within_a_minute(server, remote, identity, make_report):
    sweep = open_sweep_run(remote, identity)
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    server.kill()
    start = time.monotonic()
    with pytest.raises(Exception, match=r"Max retries|refused|API request"):
        sweep.log_report(run_id, make_report())
    assert time.monotonic() - start < 60
