"""The tracker and its publisher: the sweep does not wait for MLflow, and every record is logged exactly once."""

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
def short_pauses(monkeypatch):
    """Shorten the pauses after an outage to parts of a second."""
    monkeypatch.setattr(publisher, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(publisher, "_LONGEST_PAUSE_S", 0.05)


@pytest.fixture
def output():
    return []


@pytest.fixture
def make_tracker(store, identity, tmp_path, output):
    """`make_tracker(connect)`: a tracker on the sweep's outbox; `connect` opens the run."""

    def make(connect=lambda: open_sweep_run(store, identity)):
        return Tracker(tmp_path / "outbox", connect, output.append)

    return make


def log_a_trial(tracker, make_report, make_scores):
    tracker.log_dataset(DatasetRecord("docs", "e" * 64, "file:///data", {"train": 30}))
    tracker.log_params({"space": {"train.epochs": "1..4"}})
    tracker.set_tags({"embsweep.command": "python run_sweep.py"})
    tracker.log_artifact_text("config/resolved.yaml", "a: 1\n")
    tracker.log_baseline(make_scores(), bm25_map=0.37)
    tracker.start_trial(CHILD, 1, {"train": {"seed": 1}})
    tracker.log_facts(CHILD, {"setup_s": 1.5, "device": "cpu"})
    for step in (10, 20, 30):
        tracker.log_report(CHILD, make_report(step=step, loss=math.nan))
    tracker.finish_trial(CHILD, TrialResult(Outcome.COMPLETE, 0.45, make_scores(0.2), None, time.time()))
    tracker.finish({"best_objective": 0.45}, trials=1)


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


def test_every_record_is_logged(client, make_tracker, output, make_report, make_scores):
    with make_tracker() as tracker:
        log_a_trial(tracker, make_report, make_scores)
        check_trial(client, tracker.flush())
    assert output == []


@pytest.mark.nightly
def test_an_outage_blocks_and_loses_nothing(client, make_tracker, output, store, identity, make_report, make_scores):
    is_reachable = threading.Event()

    def connect():
        if not is_reachable.is_set():
            raise ConnectionError("connection refused")
        return open_sweep_run(store, identity)

    with make_tracker(connect) as tracker:
        log_a_trial(tracker, make_report, make_scores)
        with pytest.raises(TrackingUnavailable, match="connection refused"):
            tracker.flush(patience_s=0.2)
        is_reachable.set()
        check_trial(client, tracker.flush())
    assert "connection refused" in output[0]
    assert len(output) > 1, "the end of the outage is reported"


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5))
def test_requests_and_responses_may_be_lost(client, make_tracker, output, monkeypatch, seed, make_report, make_scores):
    from mlflow import MlflowClient

    rng = random.Random(seed)

    def lossy(original):
        def call(*args, **kwargs):
            if rng.random() < 0.25:
                raise ConnectionError("the request was lost")
            response = original(*args, **kwargs)
            if rng.random() < 0.25:
                raise ConnectionError("the response was lost")
            return response

        return call

    for name in ("create_run", "log_batch", "set_terminated", "update_run", "log_inputs", "log_text", "search_runs"):
        monkeypatch.setattr(MlflowClient, name, lossy(getattr(MlflowClient, name)))
    with make_tracker() as tracker:
        log_a_trial(tracker, make_report, make_scores)
        run = tracker.flush()
    monkeypatch.undo()
    check_trial(client, run)


@pytest.mark.nightly
def test_a_crash_after_any_delivery_repeats_at_most_that_one_without_effect(
    client, make_tracker, store, identity, make_report, make_scores
):
    with make_tracker(lambda: (_ for _ in ()).throw(ConnectionError("down"))) as tracker:
        log_a_trial(tracker, make_report, make_scores)
    for allowed in itertools.count(1):
        counter = itertools.count()

        def publish_and_die(self, entry, allowed=allowed, counter=counter, original=Tracker._publish):
            original(self, entry)
            if next(counter) == allowed:
                raise ConnectionError("died before the cursor was written")

        again = make_tracker()
        waiting = len(again._outbox)
        again._publisher._publish = publish_and_die.__get__(again)
        with again:
            if again._outbox.wait_empty(3.0):
                break
        assert len(Tracker(again._outbox.folder, lambda: None, print)._outbox) <= waiting + 1
        assert allowed < 40
    check_trial(client, find_sweep_run(store, identity, client))


def find_sweep_run(store, identity, client):
    """Return the existing run without setting it to RUNNING."""
    (run,) = client.search_runs(
        [store.experiment_id], f"tags.`embsweep.study` = '{identity.study_id}' and tags.`embsweep.role` = 'sweep'"
    )
    client.set_terminated(run.info.run_id, "FINISHED")
    return SweepRun(store, identity, client, run)


@pytest.mark.nightly
def test_a_refused_record_becomes_a_dead_letter_and_is_reported(client, make_tracker, output, make_report, tmp_path):
    with make_tracker() as tracker:
        tracker.start_trial(CHILD, 1, {})
        run = tracker.flush()
        client.delete_run(tracker.run_id(CHILD))
        tracker.log_report(CHILD, make_report())
        tracker.set_tags({"embsweep.command": "still logged"})
        tracker.flush()
    assert f"{tmp_path / 'outbox'}" in output[0]
    assert client.get_run(run.run_id).data.tags["embsweep.command"] == "still logged"


@pytest.mark.nightly
@pytest.mark.parametrize("full", ["atomic_write", "_append"])
def test_a_full_disk_does_not_block_the_publisher_for_ever(client, make_tracker, make_report, monkeypatch, full):
    """The publisher writes its cursor and dead letters on the same disk that everything else fills."""
    real, is_full = getattr(outbox, full), threading.Event()

    def write(*args):
        if is_full.is_set() and threading.current_thread() is not threading.main_thread():
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(outbox, full, write)
    with make_tracker() as tracker:
        tracker.start_trial(CHILD, 1, {})
        tracker.flush()
        client.delete_run(tracker.run_id(CHILD))
        is_full.set()
        tracker.log_report(CHILD, make_report())
        tracker.set_tags({"embsweep.command": "logged when there is space"})
        if full == "_append":
            with pytest.raises(TrackingUnavailable):
                tracker.flush(patience_s=0.2)
            is_full.clear()
        run = tracker.flush(patience_s=5)
    assert client.get_run(run.run_id).data.tags["embsweep.command"] == "logged when there is space"


def test_no_secret_is_written_to_the_outbox(make_tracker, tmp_path, make_report):
    with make_tracker(lambda: (_ for _ in ()).throw(ConnectionError("https://ann:hunter2@host is down"))) as tracker:
        tracker.start_trial(CHILD, 1, {"data": {"path": "https://ann:hunter2@host/x"}})
        tracker.log_facts(CHILD, {"token": "hf_" + "a" * 30})
        tracker.finish_trial(CHILD, TrialResult(Outcome.FAILED, None, None, None, 1.0, "at s3://ann:hunter2@host"))
        tracker.set_tags({"embsweep.command": "run_sweep.py tracking.uri=http://ann:hunter2@host"})
        tracker.log_artifact_text("a.yaml", "password: hunter2")
    for path in (tmp_path / "outbox").iterdir():
        assert b"hunter2" not in path.read_bytes()
        assert b"hf_aaaa" not in path.read_bytes()


@pytest.mark.nightly
def test_the_publisher_waits_for_a_locked_database(client, make_tracker, store, make_report, make_scores):
    with make_tracker() as tracker:
        tracker.start_trial(CHILD, 1, {})
        tracker.flush()
        other = sqlite3.connect(sqlite_file(store.uri))
        other.execute("BEGIN EXCLUSIVE")
        log_a_trial(tracker, make_report, make_scores)
        time.sleep(8)  # longer than sqlite itself waits
        assert len(tracker._outbox) > 0
        other.rollback()
        other.close()
        check_trial(client, tracker.flush())


@pytest.mark.nightly
def test_an_early_end_is_logged_when_the_sweep_resumes(client, make_tracker, store, identity):
    with make_tracker(lambda: (_ for _ in ()).throw(ConnectionError("down"))) as tracker:
        tracker.start_trial(CHILD, 1, {})
        tracker.close(interrupted=True)
    with make_tracker() as again:
        run = again.flush()
        assert client.get_run(run.run_id).info.status == "RUNNING"
        assert client.get_run(again.run_id(CHILD)).info.status == "KILLED"
        again.start_trial(CHILD, 2, {})
        again.flush()
        assert client.get_run(again.run_id(CHILD)).info.status == "RUNNING"
