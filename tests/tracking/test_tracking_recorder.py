"""The recorder and its courier: nobody waits for MLflow, nothing is lost, none twice."""

import itertools
import math
import random
import sqlite3
import threading
import time

import pytest

from embsweep.core.errors import TrackingUnavailable
from embsweep.tracking import outbox, publisher
from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.runs import RunRef, SweepRun, open_sweep_run
from embsweep.tracking.store import sqlite_file
from embsweep.tracking.tracker import Tracker
from embsweep.training.messages import Outcome, TrialResult

pytestmark = pytest.mark.slow

CHILD = RunRef(0, "trial 0")


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Outages last parts of a second here."""
    monkeypatch.setattr(publisher, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(publisher, "_LONGEST_PAUSE_S", 0.05)


@pytest.fixture
def output():
    return []


@pytest.fixture
def record(store, identity, tmp_path, output):
    """A recorder on the sweep's outbox; `connect` stands in for opening the run."""

    def make(connect=lambda: open_sweep_run(store, identity)):
        return Tracker(tmp_path / "outbox", connect, output.append)

    return make


def tell_a_trial(recorder, make_report, make_scores):
    recorder.log_dataset(DatasetRecord("told", "e" * 64, "file:///data", {"train": 30}))
    recorder.log_params({"space": {"train.epochs": "1..4"}})
    recorder.set_tags({"embsweep.command": "python run_sweep.py"})
    recorder.log_artifact_text("config/resolved.yaml", "a: 1\n")
    recorder.log_baseline(make_scores(), bm25_map=0.37)
    recorder.start_trial(CHILD, 1, {"train": {"seed": 1}})
    recorder.log_facts(CHILD, {"setup_s": 1.5, "device": "cpu"})
    for step in (10, 20, 30):
        recorder.log_report(CHILD, make_report(step=step, loss=math.nan))
    recorder.finish_trial(CHILD, TrialResult(Outcome.COMPLETE, 0.45, make_scores(0.2), None, time.time()))
    recorder.finish({"best_objective": 0.45}, trials=1)


def check_trial(client, run):
    parent = client.get_run(run.run_id)
    assert (parent.info.status, parent.data.metrics["best_objective"]) == ("FINISHED", 0.45)
    assert parent.data.params == {"space.train.epochs": "1..4"}
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
    (child,) = children
    assert child.info.status == "FINISHED"
    assert child.data.tags["embsweep.non_finite"] == "loss"
    assert child.data.metrics["setup_s"] == 1.5
    for metric in ("objective", "eval/dim_64/map_at_100"):
        assert [point.step for point in client.get_metric_history(child.info.run_id, metric)] == [10, 20, 30]
    assert len(client.get_metric_history(child.info.run_id, "setup_s")) == 1
    assert len(client.get_metric_history(run.run_id, "best_objective")) == 1


def test_all_that_is_told_arrives(client, record, output, make_report, make_scores):
    with record() as recorder:
        tell_a_trial(recorder, make_report, make_scores)
        check_trial(client, recorder.flush())
    assert output == []


@pytest.mark.nightly
def test_an_outage_holds_nobody_up_and_loses_nothing(client, record, output, store, identity, make_report, make_scores):
    is_up = threading.Event()

    def connect():
        if not is_up.is_set():
            raise ConnectionError("connection refused")
        return open_sweep_run(store, identity)

    with record(connect) as recorder:
        tell_a_trial(recorder, make_report, make_scores)
        with pytest.raises(TrackingUnavailable, match="connection refused"):
            recorder.flush(patience_s=0.2)
        is_up.set()
        check_trial(client, recorder.flush())
    assert "connection refused" in output[0]
    assert len(output) > 1, "that it is back"


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5))
def test_any_request_may_be_lost_before_or_after_it_worked(
    client, record, output, monkeypatch, seed, make_report, make_scores
):
    from mlflow import MlflowClient

    seed_variance = random.Random(seed)

    def lossy(original):
        def call(*args, **kwargs):
            if seed_variance.random() < 0.25:
                raise ConnectionError("the request was lost")
            answer = original(*args, **kwargs)
            if seed_variance.random() < 0.25:
                raise ConnectionError("the answer was lost")
            return answer

        return call

    for name in ("create_run", "log_batch", "set_terminated", "update_run", "log_inputs", "log_text", "search_runs"):
        monkeypatch.setattr(MlflowClient, name, lossy(getattr(MlflowClient, name)))
    with record() as recorder:
        tell_a_trial(recorder, make_report, make_scores)
        run = recorder.flush()
    monkeypatch.undo()
    check_trial(client, run)


@pytest.mark.nightly
def test_a_process_that_dies_between_any_two_deliveries_repeats_at_most_what_changes_nothing(
    client, record, store, identity, make_report, make_scores
):
    with record(lambda: (_ for _ in ()).throw(ConnectionError("down"))) as recorder:
        tell_a_trial(recorder, make_report, make_scores)
    for allowed in itertools.count(1):
        counted = itertools.count()

        def deliver(self, entry, allowed=allowed, counted=counted, original=Tracker._publish):
            original(self, entry)
            if next(counted) == allowed:
                raise ConnectionError("it died before it could note that")

        again = record()
        waiting = len(again._outbox)
        again._publisher._publish = deliver.__get__(again)
        with again:
            if again._outbox.wait_empty(3.0):
                break
        assert len(Tracker(again._outbox.folder, lambda: None, print)._outbox) <= waiting + 1
        assert allowed < 40
    check_trial(client, open_sweep_run_quietly(store, identity, client))


def open_sweep_run_quietly(store, identity, client):
    """Found, but not set to RUNNING."""
    (run,) = client.search_runs(
        [store.experiment_id], f"tags.`embsweep.study` = '{identity.study_id}' and tags.`embsweep.role` = 'sweep'"
    )
    client.set_terminated(run.info.run_id, "FINISHED")
    return SweepRun(store, identity, client, run)


@pytest.mark.nightly
def test_a_record_that_mlflow_never_takes_is_kept_aside_and_said(client, record, output, make_report, tmp_path):
    with record() as recorder:
        recorder.start_trial(CHILD, 1, {})
        run = recorder.flush()
        client.delete_run(recorder.run_id(CHILD))
        recorder.log_report(CHILD, make_report())
        recorder.set_tags({"embsweep.command": "still told"})
        recorder.flush()
    assert f"{tmp_path / 'outbox'}" in output[0]
    assert client.get_run(run.run_id).data.tags["embsweep.command"] == "still told"


@pytest.mark.nightly
@pytest.mark.parametrize("full", ["atomic_write", "_append"])
def test_a_full_disk_under_the_courier_holds_nobody_for_ever(client, record, make_report, monkeypatch, full):
    """It notes what is delivered, and sets aside what is refused, on the same disk that everything else fills."""
    real, is_full = getattr(outbox, full), threading.Event()

    def write(*args):
        if is_full.is_set() and threading.current_thread() is not threading.main_thread():
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(outbox, full, write)
    with record() as recorder:
        recorder.start_trial(CHILD, 1, {})
        recorder.flush()
        client.delete_run(recorder.run_id(CHILD))
        is_full.set()
        recorder.log_report(CHILD, make_report())
        recorder.set_tags({"embsweep.command": "told when there is space"})
        if full == "_append":
            with pytest.raises(TrackingUnavailable):
                recorder.flush(patience_s=0.2)
            is_full.clear()
        run = recorder.flush(patience_s=5)
    assert client.get_run(run.run_id).data.tags["embsweep.command"] == "told when there is space"


def test_no_secret_gets_into_the_outbox(record, tmp_path, make_report):
    with record(lambda: (_ for _ in ()).throw(ConnectionError("https://ann:hunter2@host is down"))) as recorder:
        recorder.start_trial(CHILD, 1, {"data": {"path": "https://ann:hunter2@host/x"}})
        recorder.log_facts(CHILD, {"token": "hf_" + "a" * 30})
        recorder.finish_trial(CHILD, TrialResult(Outcome.FAILED, None, None, None, 1.0, "at s3://ann:hunter2@host"))
        recorder.set_tags({"embsweep.command": "run_sweep.py tracking.uri=http://ann:hunter2@host"})
        recorder.log_artifact_text("a.yaml", "password: hunter2")
    for path in (tmp_path / "outbox").iterdir():
        assert b"hunter2" not in path.read_bytes()
        assert b"hf_aaaa" not in path.read_bytes()


@pytest.mark.nightly
def test_a_database_that_is_locked_is_waited_for(client, record, store, make_report, make_scores):
    with record() as recorder:
        recorder.start_trial(CHILD, 1, {})
        recorder.flush()
        other = sqlite3.connect(sqlite_file(store.uri))
        other.execute("BEGIN EXCLUSIVE")
        tell_a_trial(recorder, make_report, make_scores)
        time.sleep(8)  # longer than sqlite itself waits
        assert len(recorder._outbox) > 0
        other.rollback()
        other.close()
        check_trial(client, recorder.flush())


@pytest.mark.nightly
def test_an_early_end_is_told_when_the_sweep_goes_on(client, record, store, identity):
    with record(lambda: (_ for _ in ()).throw(ConnectionError("down"))) as recorder:
        recorder.start_trial(CHILD, 1, {})
        recorder.close(interrupted=True)
    with record() as again:
        run = again.flush()
        assert client.get_run(run.run_id).info.status == "RUNNING"
        assert client.get_run(again.run_id(CHILD)).info.status == "KILLED"
        again.start_trial(CHILD, 2, {})
        again.flush()
        assert client.get_run(again.run_id(CHILD)).info.status == "RUNNING"
