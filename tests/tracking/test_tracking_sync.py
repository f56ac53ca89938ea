"""The thread that keeps MLflow equal to the ledger: outages, lost requests, refusals and a lost database."""

import random
import shutil
import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from tests.mlflow_runs import find_differences
from tests.tracking.fake_mlflow import FakeMlflow, Faulty
from tests.tracking.states import make_sweep, make_trial

from embsweep.core.errors import EmbsweepError, TrackingUnavailable
from embsweep.tracking import sync as sync_module
from embsweep.tracking.runs import RunWriter
from embsweep.tracking.store import open_store, sqlite_file
from embsweep.tracking.sync import MlflowSync, count_pending, save_digests

pytestmark = pytest.mark.slow

STUDY = "study"
TRIAL = ("trial", 0)


@pytest.fixture(scope="module", autouse=True)
def short_pauses():
    """Shorten the pauses after an outage to parts of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_module, "_FIRST_PAUSE_S", 0.001)
        patch.setattr(sync_module, "_LONGEST_PAUSE_S", 0.02)
        yield


@pytest.fixture
def output():
    return []


@pytest.fixture
def fake():
    return FakeMlflow()


def make_states(study=STUDY, status="FINISHED"):
    """Return the states of a sweep with three trials."""
    ended = "FINISHED" if status == "FINISHED" else status
    return (
        make_sweep(study, status),
        make_trial(study, 0, ended, steps=(10, 20)),
        make_trial(study, 1, "FAILED", steps=(10,)),
        make_trial(study, 2, ended, steps=(10, 20, 30)),
    )


def sync_to(store, output=None, study=STUDY, **more):
    return MlflowSync(lambda: RunWriter(store, study), (output if output is not None else []).append, **more)


def test_every_state_arrives(fake, output):
    with sync_to(fake, output) as sync:
        sync.put(*make_states(status="RUNNING"))
        sync.put(*make_states())
        writer = sync.flush()
        assert sync.pending == 0
        assert sync.run_id(TRIAL) == writer.run_ids[TRIAL]
    assert find_differences(fake, "1", make_states()) == []
    assert output == []


def test_what_is_written_already_is_not_written_again(fake):
    for _ in range(2):
        faulty = Faulty(fake, "1")
        with sync_to(faulty) as sync:
            sync.put(*make_states())
            sync.flush()
    assert faulty.requests == ["search_runs"]


# -- lost requests ------------------------------------------------------------------------------------------------


FAULTS = st.lists(st.sampled_from([None, None, "lost", "unanswered", "twice"]), max_size=80)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(FAULTS, FAULTS, st.data())
def test_requests_and_answers_may_be_lost_or_repeated(first_faults, more_faults, data):
    """At last MLflow equals the states: one run each and every point once, also after a restart of the process."""
    fake, counts = FakeMlflow(), [data.draw(st.integers(1, 3)) for _ in range(2)]
    final = (
        make_sweep(STUDY, "FINISHED"),
        *(make_trial(STUDY, n, "FINISHED", steps=tuple(range(1, 1 + count))) for n, count in enumerate(counts)),
    )
    earlier = [make_sweep(STUDY)] + [
        make_trial(STUDY, n, data.draw(st.sampled_from(["RUNNING", "KILLED", "FAILED"])), steps=range(1, 1 + steps))
        for n, count in enumerate(counts)
        for steps in range(count + 1)
    ]
    for faults, states in ((first_faults, earlier), (more_faults, final)):
        planned = iter(faults)
        with sync_to(Faulty(fake, "1", lambda request, planned=planned: next(planned, None))) as sync:
            for state in states:
                sync.put(state)
                if data.draw(st.booleans()):
                    sync.wait(10.0)
            assert sync.wait(10.0)
    assert find_differences(fake, "1", final) == []


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_requests_to_a_real_store_may_be_lost_or_repeated(store, client, identity, seed):
    rng, study = random.Random(seed), identity.study_id
    faulty = Faulty(
        client, store.experiment_id, lambda request: rng.choice([None, None, "lost", "unanswered", "twice"])
    )
    with sync_to(faulty, study=study) as sync:
        sync.put(*make_states(study, "RUNNING"))
        sync.wait(60.0)
        sync.put(*make_states(study))
        assert sync.wait(60.0)
    assert find_differences(client, store.experiment_id, make_states(study)) == []


# -- outages ------------------------------------------------------------------------------------------------------


def test_an_outage_blocks_and_loses_nothing(fake, output):
    is_reachable = threading.Event()

    def connect():
        if not is_reachable.is_set():
            raise ConnectionError("https://ann:hunter2@host: refused\nmore")
        return RunWriter(fake, STUDY)

    with MlflowSync(connect, output.append) as sync:
        begun = time.monotonic()
        sync.put(*make_states())
        assert time.monotonic() - begun < 1.0
        with pytest.raises(TrackingUnavailable, match=r"ConnectionError.*\*\*\*@host.*4 runs"):
            sync.flush(patience_s=0.05)
        assert sync.pending == 4
        is_reachable.set()
        sync.flush()
    assert find_differences(fake, "1", make_states()) == []
    assert [line.partition(" (")[0] for line in output] == [
        "MLflow does not answer",
        "MLflow answers again; 3 runs are pending.",
    ]


def test_a_database_that_is_lost_in_an_outage_gets_the_sweep_before_its_trials(fake, output):
    """The request that failed was for a trial, which cannot be the first run of the new database."""

    def lose_database(*_, **given):
        del fake.create_run
        fake.runs.clear()
        raise ConnectionError("refused")

    states = make_states()
    with sync_to(fake, output) as sync:
        sync.put(*states[:2])
        sync.flush()
        fake.create_run = lose_database
        sync.put(*states)
        sync.flush()
    assert find_differences(fake, "1", states) == []
    assert [line.partition(" (")[0] for line in output] == [
        "MLflow does not answer",
        "MLflow answers again; 3 runs are pending.",
    ]


def test_the_end_of_a_process_does_not_wait_for_mlflow_for_long(output, monkeypatch):
    monkeypatch.setattr(sync_module, "CLOSE_TIMEOUT_S", 0.1)
    hangs = threading.Event()
    with MlflowSync(lambda: hangs.wait(30), output.append) as sync:
        sync.put(*make_states())
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    hangs.set()


def test_a_state_that_mlflow_refuses_is_told_once_and_the_others_go_on(fake, output):
    """Also if it is the last one, and if the refused run changes."""
    real = fake.log_batch

    def refuse(run_id, **given):
        if fake.runs[run_id].data.tags.get("embsweep.trial") == "2" and given.get("metrics"):
            raise MlflowException("at https://ann:hunter2@host: such a value is refused", INVALID_PARAMETER_VALUE)
        real(run_id, **given)

    fake.log_batch = refuse
    with sync_to(fake, output) as sync:
        for status in ("RUNNING", "FINISHED"):
            sync.put(*make_states(status=status))
            sync.flush(5.0)
            assert sync.run_id(TRIAL)
        del fake.log_batch
        sync.put(make_trial(STUDY, 2, "FINISHED", steps=(10, 20, 30, 40)))
        sync.flush(5.0)
    states = *make_states()[:3], make_trial(STUDY, 2, "FINISHED", steps=(10, 20, 30, 40))
    assert find_differences(fake, "1", states) == []
    assert len(output) == 1
    assert "trial 2" in output[0]


def test_a_run_that_could_not_be_created_has_no_id(fake, output):
    def refuse(*_, **given):
        raise MlflowException("refused", INVALID_PARAMETER_VALUE)

    fake.create_run = refuse
    with sync_to(fake, output) as sync:
        sync.put(*make_states())
        with pytest.raises(EmbsweepError, match="no run for trial 0"):
            sync.run_id(TRIAL)


# -- a database that is lost, locked or full ----------------------------------------------------------------------


@pytest.fixture
def local(tmp_path, mlflow_template):
    """Return `open_again`, which opens the local store in a folder, as a sweep does after each failure."""
    shutil.copyfile(mlflow_template, tmp_path / "mlflow.db")
    return lambda: open_store(tmp_path, uri=None, experiment="lost")


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def replace_by_another(path):
    """Replace the file by an MLflow without any run, as another process would create it."""
    shutil.copyfile(path.parent / "template.db", path.parent / "new.db")
    (path.parent / "new.db").replace(path)


@pytest.mark.parametrize(("lose", "times"), [(remove, 2), (empty, 1), (replace_by_another, 1)])
def test_a_database_that_is_lost_while_it_is_written_gets_everything_again(
    local, tmp_path, mlflow_template, lose, times, output
):
    """Also a second time: this process has connections to it, and has created one before."""
    shutil.copyfile(mlflow_template, tmp_path / "template.db")
    path, states = tmp_path / "mlflow.db", make_states(status="RUNNING")
    with MlflowSync(lambda: RunWriter(local(), STUDY), output.append) as sync:
        for _ in range(times):
            sync.put(*states)
            sync.flush()
            lose(path)
            states = make_states()
            sync.put(*states)
            sync.flush()
            store = local()
            assert find_differences(store.client, store.experiment_id, states) == []
            states = make_states(status="KILLED")
        with sqlite3.connect(path) as database:
            assert database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchall() == [(4,)]


@contextmanager
def locked(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.mark.nightly
def test_a_locked_database_is_waited_for(store, client, identity):
    study = identity.study_id
    with sync_to(store, study=study) as sync:
        sync.put(*make_states(study, "RUNNING"))
        sync.flush()
        with locked(sqlite_file(store.uri)):
            sync.put(*make_states(study))
            time.sleep(8)  # longer than sqlite itself waits
            assert sync.pending > 0
        sync.flush()
    assert find_differences(client, store.experiment_id, make_states(study)) == []


# -- the file for `embsweep status` -------------------------------------------------------------------------------


def test_pending_runs_are_counted_from_the_file(fake, tmp_path):
    path = tmp_path / "mlflow.json"
    assert count_pending(path, make_states()) == 4
    with sync_to(fake, save=lambda digests: save_digests(path, digests)) as sync:
        sync.put(*make_states())
        sync.flush()
    assert count_pending(path, make_states()) == 0
    assert count_pending(path, (*make_states()[:3], make_trial(STUDY, 2, steps=(10,)))) == 1


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"null", b"7", b'[["trial", 0]]', b'[[["a"], 0, "x"]]', b'{"a": 1}']
)
def test_a_corrupt_file_counts_as_none(tmp_path, text):
    path = tmp_path / "mlflow.json"
    path.write_bytes(text)
    assert count_pending(path, make_states()) == 4


def test_a_full_disk_does_not_stop_the_thread(fake, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sync_module, "atomic_write", full)
    with sync_to(fake, save=lambda digests: save_digests(tmp_path / "mlflow.json", digests)) as sync:
        sync.put(*make_states())
        sync.flush()
    assert find_differences(fake, "1", make_states()) == []
