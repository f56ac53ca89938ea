"""`run_in_subprocess`: the child ends with its parent, and its result, errors and death reach the parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from embsweep.core.errors import EmbsweepError
from embsweep.core.subprocess import run_in_subprocess
from tests.processes import is_gone_within

pytestmark = pytest.mark.slow

PROGRAM = """
import os, sys, time
from pathlib import Path
from embsweep.core.subprocess import run_in_subprocess

def work(path, seconds):
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()

if __name__ == "__main__":
    try:
        run_in_subprocess(work, sys.argv[1], float(sys.argv[2]))
        for _ in range(12_000):  # an interrupt that comes just before a sleep is raised only after it
            time.sleep(0.05)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture
def start(tmp_path):
    script, pid_file = tmp_path / "program.py", tmp_path / "pid"
    script.write_text(PROGRAM)
    started = []

    def begin(seconds):
        process = subprocess.Popen(
            [sys.executable, str(script), str(pid_file), str(seconds)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        return process, int(pid_file.read_text())

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_the_child_ends_with_its_parent(start, seconds):
    """Cases: while the child is idle after its work, and while it works."""
    process, child = start(seconds)
    time.sleep(0.5)
    process.kill()
    assert is_gone_within(child, 60)


def test_ctrl_c_at_a_terminal_exits_at_once_and_prints_nothing(start):
    process, child = start(600.0)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole process group
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert is_gone_within(child, 60)


def test_result_error_and_death():
    assert run_in_subprocess(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        run_in_subprocess(int, "seven")
    with pytest.raises(EmbsweepError):
        run_in_subprocess(os._exit, 3)
