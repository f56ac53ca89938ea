"""SIGKILL at every crash point of writing a state: afterwards either the previous or the new state is found, complete.

`test_resume_crash_points` does the same, and more, in one process; here processes are really killed.

A separate process trains up to the write and then forks. Each child continues in a copy of the trial's folder and kills
itself one crash point later than the child before, until one completes the write. A crash point is every change of the
disk: opening a file for writing, making a folder, a sync, a rename, a removal, and the exchange of two names.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import pytest

from embsweep.core import files as folders
from embsweep.models import builders
from embsweep.training import callback
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import compute_fingerprint, find_state, save_state
from tests.training.recorder import Recorder, run_trial
from tests.training.tiny import build_tiny

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

FRACTIONS = (0.5, 1.0)
RENAMES = ("os.rename", "os.remove", "os.rmdir")
CHANGES = (*RENAMES, "open", "os.mkdir", "os.truncate", "test.sync", "test.exchange")
MAX_CRASH_POINTS = 400
"""More crash points than any write has."""


@dataclass(frozen=True)
class Write:
    """The write to interrupt: its rung, its file system, and the events of `sys.audit` that are crash points."""

    rung: int
    can_exchange: bool = True
    crash_points: tuple = CHANGES


class _TrialEnded(BaseException):
    """Ends the trial that was trained only up to the fork."""


def kill_at_every_crash_point(job, data, folder, write):
    """Return one trial folder per crash point of `write`; in the last one the write was completed.

    Called in a process that does nothing else.
    """
    calls, died = count(1), []

    def save(trainer, state, values, group):
        if next(calls) < write.rung:
            save_state(trainer, state, values, group)
            return
        for crash_point in range(MAX_CRASH_POINTS):
            died.append(folder / f"{crash_point:03d}")
            shutil.copytree(job.folder, died[-1], copy_function=os.link)  # a trial writes new files, it changes none
            if not _is_killed(crash_point, write, died[-1], lambda own: save_state(trainer, own(state), values, group)):
                break
        raise _TrialEnded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "build_model", build_tiny(data))
        patch.setattr(callback, "save_state", save)
        with contextlib.suppress(_TrialEnded):
            run_trial(job, Recorder(), data)
    return died


def _is_killed(crash_point, write, folder, save):
    """Save the state to `folder` in a forked process; return True if that killed itself before the end."""
    child = os.fork()
    if child == 0:
        _die_at(crash_point, write, folder)
        save(lambda state: replace(state, folder=folder / state.folder.name))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def _die_at(crash_point, write, folder):
    """From now on count the changes of `folder`, and die before number `crash_point` (0 is the first)."""
    left, sync = count(crash_point, -1), os.fsync
    exchange = folders._exchange if write.can_exchange else lambda *_: False

    def on_audit_event(event, arguments):
        if event not in write.crash_points or (event == "open" and not _is_for_writing(arguments, folder)):
            return
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited_sync(descriptor):
        sys.audit("test.sync")
        sync(descriptor)

    def audited_exchange(*names):
        sys.audit("test.exchange")
        return exchange(*names)

    os.fsync, folders._exchange = audited_sync, audited_exchange
    sys.addaudithook(on_audit_event)


def _is_for_writing(arguments, folder):
    path, _, flags = arguments
    return str(path).startswith(str(folder)) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@pytest.fixture(scope="module")
def in_own_process():
    """`in_own_process(function, *args)`: call it in a process that may fork, as it has no threads of other tests."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result(timeout=200)


@pytest.fixture
def job(make_config, tmp_path):
    config = make_config(
        *("model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", "train.epochs=1"),
        f"eval.fractions={list(FRACTIONS)}",
    )
    return TrialSpec(number=3, attempt=1, config=config.trial, folder=str(tmp_path / "trial"))


@pytest.mark.parametrize(
    "write",
    [Write(rung=1), Write(rung=2), Write(rung=2, can_exchange=False, crash_points=RENAMES)],
    ids=["first", "second", "two renames"],
)
def test_a_sigkill_at_any_crash_point_leaves_a_complete_state(job, data, tmp_path, monkeypatch, in_own_process, write):
    monkeypatch.setattr(builders, "build_model", build_tiny(data))
    (tmp_path / "killed").mkdir()
    killed = in_own_process(kill_at_every_crash_point, job, data, tmp_path / "killed", write)
    assert len(killed) > len(write.crash_points), "some crash points occur once per file"

    setup, reached = compute_fingerprint(job, resolve_for_this_process(job.config)), []
    for folder in killed:
        state = find_state(job.model_copy(update={"folder": str(folder)}), setup)  # InvalidResumeState: it is corrupt
        reached.append(0 if state is None else len(state.reports))
    assert reached == sorted(reached), "once the new state exists, it is found"
    assert set(reached) == {write.rung - 1, write.rung}

    first_new = reached.index(write.rung)
    for index in {first_new // 2, first_new - 1, first_new, len(killed) - 1}:
        second = Recorder()
        run_trial(job.model_copy(update={"folder": str(killed[index])}), second, data)
        assert second.results[0].outcome == Outcome.COMPLETE
        assert second.reports[0].fraction == FRACTIONS[max(reached[index] - 1, 0)], "its last report is repeated"
