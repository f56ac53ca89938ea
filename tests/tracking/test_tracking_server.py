"""The same tracking against a real MLflow server: artifacts travel over HTTP, and the server may die."""

import os
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from embsweep.tracking.facts import WinnerFacts
from embsweep.tracking.loading import load_registered
from embsweep.tracking.registry import register_winner
from embsweep.tracking.runs import Child, open_sweep_run
from embsweep.tracking.store import open_store
from embsweep.tracking.ui import choose_port

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path):
    """A server with its own artifact store, as a team would run it; its database is a fresh file."""
    port = choose_port(0)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # not needed here
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            _await_answer(f"http://127.0.0.1:{port}", process, tmp_path / "server.log")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.wait(30)


def _await_answer(url, process, log):
    deadline = time.monotonic() + 120  # seconds on a free machine, half a minute on a busy one
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


@pytest.fixture
def remote(server, tmp_path):
    return open_store(tmp_path, uri=server[0], experiment="remote")


def test_a_sweep_and_its_winner_over_http(elsewhere, remote, identity, make_model, make_report, make_scores, tmp_path):
    sweep = open_sweep_run(remote, identity)
    run_id = sweep.start_trial(Child(0, "trial 0"), 1, {f"k{n}": n for n in range(150)})
    sweep.log_report(run_id, make_report())
    sweep.log_report(run_id, make_report())
    sweep.log_artifact_text("configuration.yaml", "a: 1\n")
    assert open_sweep_run(remote, identity).start_trial(Child(0, "trial 0"), 2, {}) == run_id
    client = remote.client()
    assert len(client.get_metric_history(run_id, "objective")) == 1
    assert len(client.get_run(run_id).data.params) == 150

    model = make_model()
    checkpoint = tmp_path / "trial" / "best"
    checkpoint.parent.mkdir()
    model.save(str(checkpoint))
    facts = WinnerFacts(run_id, 0, 0.4, "map@100", make_scores())
    versions = [register_winner(sweep, checkpoint, registered_name="legal", facts=facts) for _ in range(2)]
    assert [version.version for version in versions] == [1, 1]
    loaded = load_registered(remote, "legal", "challenger")
    np.testing.assert_array_equal(loaded.encode(["law tax"]), model.encode(["law tax"]))
    assert list(elsewhere.iterdir()) == []


def test_a_server_that_dies_is_noticed_within_a_minute(server, remote, identity, make_report):
    sweep = open_sweep_run(remote, identity)
    run_id = sweep.start_trial(Child(0, "trial 0"), 1, {})
    server[1].terminate()
    server[1].wait(20)
    start = time.monotonic()
    with pytest.raises(Exception, match=r"Max retries|refused|API request"):
        sweep.log_report(run_id, make_report())
    assert time.monotonic() - start < 60
