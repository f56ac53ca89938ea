"""A driver that dies: the same command goes on from the ledger."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from embsweep.search.ledger import read_ledger

from .conftest import ROOT, SMALL, run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ARGUMENTS = (*SMALL, "search.trials=4", "sweep.name=killed", "train.epochs=2")


def start(storage):
    command = [sys.executable, str(ROOT / "run_sweep.py"), f"storage.path={storage}", *ARGUMENTS]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


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


def test_sigkill_in_mid_sweep_loses_nothing_that_was_finished(tmp_path):
    process = start(tmp_path)
    wait_for(process, "1/4 done")
    family = children_of(process.pid)
    process.kill()
    process.wait()
    kill_all(family)  # what a machine that dies takes with it
    before = {t.number: t for t in read_ledger(tmp_path / "sweeps/killed/study.db")[1]}
    assert any(t.is_finished for t in before.values())

    ran = run_sweep(tmp_path, *ARGUMENTS)
    assert ran.code == 0, ran.output
    after = read_ledger(tmp_path / "sweeps/killed/study.db")[1]
    assert [t.number for t in after] == [0, 1, 2, 3]
    assert all(t.is_finished for t in after)
    for trial in after:
        earlier = before.get(trial.number)
        if earlier is None:
            assert trial.attempt == 1
        else:
            assert earlier.params.items() <= trial.params.items()  # the kill may have come while they were drawn
            assert trial.attempt == earlier.attempt + (not earlier.is_finished)
    assert ran.output.count("trial 0 starts") == (0 if before[0].is_finished else 1)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_or_a_batch_system_ends_it_in_order(tmp_path, sent, code):
    process = start(tmp_path)
    wait_for(process, "trial 0 starts")
    process.send_signal(sent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert re.search(r"go on with: \S*python run_sweep\.py", output)
    assert "Traceback" not in output
