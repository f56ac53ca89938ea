"""A driver that is interrupted or dies: the same command goes on from the ledger.

`tests/chaos` does this at many moments and without the seconds of a start; here it is the program itself.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from embsweep.search.read import read_ledger
from embsweep.sweep import holdout
from tests.cli.conftest import call, outside_hydra  # noqa: F401 - fixtures
from tests.sweep.conftest import ROOT, SMALL, _call_here, run_sweep

pytestmark = pytest.mark.slow

ARGUMENTS = (*SMALL, "search.trials=4", "sweep.name=killed", "train.epochs=2")


@pytest.fixture
def start():
    """`start(arguments)`: the program, which does not outlive the test."""
    started = []

    def run(arguments):
        command = [sys.executable, str(ROOT / "run_sweep.py"), *arguments]
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            kill_all([process.pid, *children_of(process.pid)])
        process.communicate()


def wait_for(process, words, timeout_s=180):
    deadline = time.monotonic() + timeout_s
    lines = []
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        lines.append(line)
        if words in line:
            return lines
        if not line and process.poll() is not None:
            break
    raise AssertionError("".join(lines))


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    direct = [int(text) for text in found.stdout.split()]
    return [*direct, *(p for child in direct for p in children_of(child))]


def kill_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def read_trials(storage):
    return read_ledger(storage / "sweeps/killed/study.db")[1]


def check_resumed(before, after, output):
    """Four trials are finished, each of `before` with its parameters; only what was open has begun again."""
    assert [t.number for t in after] == [0, 1, 2, 3]
    assert all(t.is_finished for t in after)
    earlier = {t.number: t for t in before}
    for trial in after:
        if trial.number not in earlier:
            assert trial.attempt == 1
            continue
        was = earlier[trial.number]
        assert was.params.items() <= trial.params.items()  # the kill may have come while they were drawn
        assert trial.attempt == was.attempt + (not was.is_finished)
    assert output.count("trial 0 starts") == (0 if earlier[0].is_finished else 1)


def check_interrupted(process, code):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    assert re.search(r": \S*python run_sweep\.py", output)
    assert "Traceback" not in output


@pytest.fixture
def quick(tmp_path, pairs, model_of):
    """Arguments of a sweep of made-up words in one process, whose trials take less than a second."""
    return [
        f"storage.path={tmp_path}", "sweep.name=killed", "search.trials=4", "runner=inline", "confirm=none",
        "data=files", f"data.pairs={pairs}", "data.anchor=question", "data.positive=passage", "data.max_pairs=null",
        "data.split.validation=0.2", "data.split.test=0.2", "eval.fractions=[0.5,1.0]", "train.batch_size=8",
        "train.epochs=10", "matryoshka=from_384", *model_of(pairs),
    ]  # fmt: skip


@pytest.fixture
def killed(tmp_path, start, quick):
    """The trials of a sweep whose program was killed when the first of them was finished."""
    process = start(quick)
    wait_for(process, "1/4 done")
    process.kill()
    process.wait()
    return read_trials(tmp_path)


@pytest.mark.usefixtures("imports_paid")
def test_sigkill_loses_nothing_that_was_finished(tmp_path, killed, quick, call, monkeypatch):  # noqa: F811
    assert any(t.is_finished for t in killed)
    monkeypatch.setattr(holdout, "select_call", lambda *_: _call_here)
    left = call(*quick)
    assert left.code == 0, left.out + left.err
    check_resumed(killed, read_trials(tmp_path), left.out)


@pytest.mark.nightly
def test_ctrl_c_ends_it_in_order(start, quick):
    process = start(quick)
    wait_for(process, "trial 0 starts")
    process.send_signal(signal.SIGINT)
    check_interrupted(process, 130)


@pytest.mark.nightly
@pytest.mark.ray
def test_sigkill_in_mid_sweep_loses_nothing_that_was_finished(tmp_path, start):
    process = start([f"storage.path={tmp_path}", *ARGUMENTS])
    wait_for(process, "1/4 done")
    family = children_of(process.pid)
    process.kill()
    process.wait()
    kill_all(family)  # what a machine that dies takes with it
    before = read_trials(tmp_path)
    assert any(t.is_finished for t in before)

    ran = run_sweep(tmp_path, *ARGUMENTS)
    assert ran.code == 0, ran.output
    check_resumed(before, read_trials(tmp_path), ran.output)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_or_a_batch_system_ends_it_in_order(tmp_path, start, sent, code):
    process = start([f"storage.path={tmp_path}", *ARGUMENTS])
    wait_for(process, "trial 0 starts")
    process.send_signal(sent)
    check_interrupted(process, code)
