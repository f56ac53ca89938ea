"""SIGKILL at every moment of a state's writing: what is found afterwards is whole, the one before or the new one.

`test_state_cut` does the same, and more, without processes; here they are killed for real.

A process of its own trains up to the write and then forks: each child goes on in a copy of the trial's folder and kills
itself one moment later than the last, until one gets through. A moment is whatever changes the disk: a file opened to
be written, a folder made, a sync, a name taken, something removed, and the exchange of two names.
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
from embsweep.models import registry
from embsweep.training import callback
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import compute_fingerprint, find_state, save_state
from embsweep.training.trial import run_trial
from tests.training.recorder import Recorder
from tests.training.tiny import build_tiny

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

FRACTIONS = (0.5, 1.0)
RENAMES = ("os.rename", "os.remove", "os.rmdir")
CHANGES = (*RENAMES, "open", "os.mkdir", "os.truncate", "test.sync", "test.exchange")
MOST = 400
"""More moments than any write has."""


@dataclass(frozen=True)
class Write:
    """Which of a trial's writes is cut short, on which file system, and at which of the events of `sys.audit`."""

    rung: int
    can_exchange: bool = True
    crash_points: tuple = CHANGES


class _ForkedEnough(BaseException):
    """The trial that was only trained to be forked ends here."""


def kill_at_every_moment(job, data, folder, write):
    """Folders of a trial that died during `write`, one a moment; in the last one it got through.

    Called in a process that does nothing else.
    """
    calls, dead = count(1), []

    def save(trainer, state, values, group):
        if next(calls) < write.rung:
            save_state(trainer, state, values, group)
            return
        for crash_point in range(MOST):
            dead.append(folder / f"{crash_point:03d}")
            shutil.copytree(job.folder, dead[-1], copy_function=os.link)  # what is written is new, never changed
            if not _is_killed(crash_point, write, dead[-1], lambda own: save_state(trainer, own(state), values, group)):
                break
        raise _ForkedEnough

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build_model", build_tiny(data))
        patch.setattr(callback, "save_state", save)
        with contextlib.suppress(_ForkedEnough):
            run_trial(job, Recorder(), data)
    return dead


def _is_killed(crash_point, write, folder, save):
    """Let a forked process save its state to `folder`; whether it killed itself before it was done."""
    child = os.fork()
    if child == 0:
        _die_at(crash_point, write, folder)
        save(lambda state: replace(state, folder=folder / state.folder.name))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def _die_at(crash_point, write, folder):
    """From now on, count what changes `folder`, and die before the `moment`-th change."""
    left, sync = count(crash_point, -1), os.fsync
    exchange = folders._exchange if write.can_exchange else lambda *_: False

    def hear(event, arguments):
        if event not in write.crash_points or (event == "open" and not _is_for_writing(arguments, folder)):
            return
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def sync_aloud(descriptor):
        sys.audit("test.sync")
        sync(descriptor)

    def exchange_aloud(*names):
        sys.audit("test.exchange")
        return exchange(*names)

    os.fsync, folders._exchange = sync_aloud, exchange_aloud
    sys.addaudithook(hear)


def _is_for_writing(arguments, folder):
    path, _, flags = arguments
    return str(path).startswith(str(folder)) and bool(flags & (os.O_WRONLY | os.O_RDWR))


@pytest.fixture(scope="module")
def in_own_process():
    """`in_own_process(function, *args)`: where it may fork, since there are no threads of other tests."""
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
def test_a_sigkill_at_any_moment_leaves_a_whole_state(job, data, tmp_path, monkeypatch, in_own_process, write):
    monkeypatch.setattr(registry, "build_model", build_tiny(data))
    (tmp_path / "dead").mkdir()
    dead = in_own_process(kill_at_every_moment, job, data, tmp_path / "dead", write)
    assert len(dead) > len(write.crash_points), "some of them come once for each file"

    setup, reached = compute_fingerprint(job, resolve_for_this_process(job.config)), []
    for folder in dead:
        state = find_state(job.model_copy(update={"folder": str(folder)}), setup)  # InvalidResumeState: it is torn
        reached.append(0 if state is None else len(state.reports))
    assert reached == sorted(reached), "once the new one is there, it stays"
    assert set(reached) == {write.rung - 1, write.rung}

    turn = reached.index(write.rung)
    for place in {turn // 2, turn - 1, turn, len(dead) - 1}:
        second = Recorder()
        run_trial(job.model_copy(update={"folder": str(dead[place])}), second, data)
        assert second.results[0].outcome == Outcome.COMPLETE
        assert second.reports[0].fraction == FRACTIONS[max(reached[place] - 1, 0)], "its last report is said again"
