"""A driver that is interrupted or killed: the same command resumes from the ledger.

`tests/chaos` tests this at many crash points without the seconds of a start; here the program itself is started.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from embsweep.runners.base import Runner
from embsweep.search.read import read_ledger
from tests.cli.conftest import call, outside_hydra  # noqa: F401 - fixtures
from tests.sweep.conftest import ROOT, SMALL, _call_here, run_sweep

pytestmark = pytest.mark.slow

ARGUMENTS = (*SMALL, "search.trials=4", "sweep.name=killed", "train.epochs=2")


@pytest.fixture
def start():
    """Return `run(arguments)`, which starts the program; it is killed at the end of the test."""
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
    """Check that four trials are finished, those of `before` with their parameters; only open ones were repeated."""
    assert [t.number for t in after] == [0, 1, 2, 3]
    assert all(t.is_finished for t in after)
    earlier = {t.number: t for t in before}
    for trial in after:
        if trial.number not in earlier:
            assert trial.attempt == 1
            continue
        first = earlier[trial.number]
        assert first.params.items() <= trial.params.items()  # the kill may have come while they were drawn
        assert trial.attempt == first.attempt + (first.state == "running")
    assert output.count("trial 0 starts") == (0 if earlier[0].is_finished else 1)


def check_interrupted(process, code):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    assert re.search(r": \S*python run_sweep\.py", output)
    assert "Traceback" not in output


@pytest.fixture
def quick(tmp_path, pairs, model_of):
    """Arguments of a sweep on made-up words in one process, whose trials take less than a second."""
    return [
        f"storage.path={tmp_path}", "sweep.name=killed", "search.trials=4", "runner=inline", "confirm=none",
        "data=files", f"data.pairs={pairs}", "data.anchor=question", "data.positive=passage", "data.max_pairs=null",
        "data.split.validation=0.2", "data.split.test=0.2", "eval.fractions=[0.5,1.0]", "train.batch_size=8",
        "train.epochs=10", "matryoshka=from_384", *model_of(pairs),
    ]  # fmt: skip


@pytest.fixture
def killed(tmp_path, start, quick):
    """The trials of a sweep whose program was killed when the first one was finished."""
    process = start(quick)
    wait_for(process, "1 finished")
    process.kill()
    process.wait()
    return read_trials(tmp_path)


@pytest.mark.usefixtures("heavy_imports")
def test_sigkill_loses_no_finished_trial(tmp_path, killed, quick, call, monkeypatch):  # noqa: F811
    assert any(t.is_finished for t in killed)
    monkeypatch.setattr(Runner, "call", _call_here)
    result = call(*quick)
    assert result.code == 0, result.out + result.err
    check_resumed(killed, read_trials(tmp_path), result.out)


@pytest.mark.nightly
def test_ctrl_c_exits_gracefully(start, quick):
    process = start(quick)
    wait_for(process, "trial 0 starts")
    process.send_signal(signal.SIGINT)
    check_interrupted(process, 130)


@pytest.mark.nightly
@pytest.mark.ray
def test_sigkill_with_ray_loses_no_finished_trial(tmp_path, start):
    process = start([f"storage.path={tmp_path}", *ARGUMENTS])
    wait_for(process, "1 finished")
    children = children_of(process.pid)
    process.kill()
    process.wait()
    kill_all(children)  # they end too if the machine fails
    before = read_trials(tmp_path)
    assert any(t.is_finished for t in before)

    result = run_sweep(tmp_path, *ARGUMENTS)
    assert result.code == 0, result.output
    check_resumed(before, read_trials(tmp_path), result.output)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_or_sigterm_with_ray_exits_gracefully(tmp_path, start, sent, code):
    process = start([f"storage.path={tmp_path}", *ARGUMENTS])
    wait_for(process, "trial 0 starts")
    process.send_signal(sent)
    check_interrupted(process, code)
