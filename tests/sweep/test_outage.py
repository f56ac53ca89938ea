"""An MLflow server that is unavailable for a while, or during a whole sweep: training continues, nothing is lost."""

import time

import pytest
from mlflow import MlflowClient

from embsweep.core.errors import InputError, TrackingUnavailable
from embsweep.search.read import read_ledger
from embsweep.sweep.projection import project_ledger
from embsweep.sweep.scheduler import SweepScheduler
from embsweep.tracking import sync as tracking_sync
from embsweep.tracking.ui import find_port
from tests.mlflow_runs import find_differences
from tests.refusals import raises_diagnostics
from tests.servers import MlflowServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(launch_in, tmp_path_factory):
    result, _ = launch_in(tmp_path_factory.mktemp("reference"))
    return result.evidence


@pytest.fixture
def server(tmp_path):
    with MlflowServer(tmp_path) as created:
        yield created


@pytest.fixture
def at_call(monkeypatch):
    """Return `arrange`: `arrange("on_trial_result", 2, action)` calls `action` before the second report.

    Its result is a list of the duration of each call in seconds.
    """

    def arrange(method, number, action):
        original, times = getattr(SweepScheduler, method), []

        def call(self, *args):
            if len(times) == number - 1:
                action()
            begun = time.perf_counter()
            result = original(self, *args)
            times.append(time.perf_counter() - begun)
            return result

        monkeypatch.setattr(SweepScheduler, method, call)
        return times

    return arrange


def check_all_arrived(server, storage, reference, result):
    """Check that MLflow says what the ledger says, and that the winner is that of the reference."""
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name("embsweep").experiment_id
    states = project_ledger(storage / "sweeps/quickstart/study.db")
    assert [state.status for state in states] == ["FINISHED"] * 4
    assert (
        find_differences(client, experiment, states, exact=("objective",)) == []
    )  # the winner has its model's metrics
    assert result.evidence.verdict.winner == reference.verdict.winner
    assert result.evidence.validation == reference.validation
    assert len(client.search_model_versions("name = 'quickstart'")) == 1


def test_a_sweep_without_its_server_trains_and_reports_pending_runs(launch, tmp_path, monkeypatch):
    """The server's address is a port that was free shortly before."""
    monkeypatch.setattr(tracking_sync, "FLUSH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(tracking_sync, "CLOSE_TIMEOUT_S", 0.2)
    uri = f"tracking.uri=http://127.0.0.1:{find_port(0)}"
    with raises_diagnostics(("unreachable", "tracking.uri")):
        launch(uri)
    assert not (tmp_path / "sweeps/quickstart").exists()
    with pytest.raises(TrackingUnavailable):
        launch(uri, "tracking.must_answer=false", "search.trials=1")
    _, records = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert [record.state for record in records] == ["complete"]
    folder = tmp_path / "sweeps/quickstart"
    assert tracking_sync.count_pending(folder / "mlflow.json", project_ledger(folder / "study.db")) == 2


@pytest.mark.nightly
def test_a_server_that_stops_and_starts_again(server, launch, tmp_path, reference, at_call):
    server.start()
    times = at_call("on_trial_result", 2, server.kill)
    at_call("on_trial_complete", 3, server.start)
    result, output = launch(f"tracking.uri={server.url}")
    assert max(times) < 5
    assert "MLflow does not answer" in output
    assert "MLflow answers again" in output
    check_all_arrived(server, tmp_path, reference, result)


@pytest.mark.nightly
def test_a_server_that_is_unavailable_from_the_first_trial_to_the_end(
    server, launch, tmp_path, reference, at_call, monkeypatch
):
    monkeypatch.setattr(tracking_sync, "FLUSH_TIMEOUT_S", 1.0)
    server.start()
    at_call("suggest", 1, server.kill)
    uri = f"tracking.uri={server.url}"
    for _ in range(2):  # the second time all trials are finished
        with pytest.raises(TrackingUnavailable, match=r"4 runs are not in MLflow"):
            launch(uri)
    _, records = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert [(record.is_finished, record.attempt) for record in records] == [(True, 1)] * 3
    server.start()
    result, output = launch(uri)
    assert "trial 0 starts" not in output
    check_all_arrived(server, tmp_path, reference, result)


@pytest.mark.nightly
def test_a_server_that_was_never_available(server, launch, tmp_path, reference, monkeypatch):
    monkeypatch.setattr(tracking_sync, "FLUSH_TIMEOUT_S", 1.0)
    uri = f"tracking.uri={server.url}"
    with pytest.raises(InputError, match=r"tracking\.uri.*must_answer=false"):
        launch(uri)
    assert not (tmp_path / "sweeps/quickstart").exists()
    with pytest.raises(TrackingUnavailable):
        launch(uri, "tracking.must_answer=false")
    server.start()
    result, _ = launch(uri)
    check_all_arrived(server, tmp_path, reference, result)
