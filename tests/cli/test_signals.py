"""Signals: the first one exits gracefully, the second one immediately, whatever this process is doing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from embsweep.cli.signals import SHUTDOWN_TIMEOUT_S, find_descendants
from tests.processes import is_gone_within

# A command that prints a line when it is ready, and then runs the function named by its first argument.
PROGRAM = """
import subprocess, sys, time
from embsweep.cli import signals
from embsweep.cli.console import exit_codes

def stubborn():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=nothing, stderr=nothing, start_new_session=True)
    line = child.pid
    while True:
        try:
            print(line, flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            line = "ignored"

def obedient():
    print(0, flush=True)
    time.sleep(600)

signals.SHUTDOWN_TIMEOUT_S = float(sys.argv[2])
with exit_codes(resume="the command"):
    {"stubborn": stubborn, "obedient": obedient}[sys.argv[1]]()
"""

# As a script's `&` does: start the command with SIGINT ignored, which its child processes inherit.
IGNORING_SIGINT = [
    *(sys.executable, "-c"),
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
]


@pytest.fixture
def start():
    started = []

    def begin(task, timeout_s=600, ignores_sigint=False):
        command = [sys.executable, "-c", PROGRAM, task, str(timeout_s)]
        process = subprocess.Popen(
            [*IGNORING_SIGINT, *command] if ignores_sigint else command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        child = int(process.stdout.readline())
        started.append((process, child))
        return process, child

    yield begin
    for process, child in started:
        process.kill()
        process.communicate()
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("ignores_sigint", [False, True])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_exits_gracefully(start, sent, code, ignores_sigint):
    process, _ = start("obedient", ignores_sigint=ignores_sigint)
    process.send_signal(sent)
    _, output = process.communicate(timeout=60)
    assert process.returncode == code
    assert output == "Interrupted. Finished trials are kept; resume with: the command\n"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_this_process_and_its_children_at_once(start, sent, code):
    process, child = start("stubborn")
    process.send_signal(sent)
    assert process.stdout.readline() == "ignored\n"
    assert process.poll() is None
    process.send_signal(sent)
    _, output = process.communicate(timeout=60)  # far less than the ten minutes allowed after the first signal
    assert (process.returncode, output) == (code, "Forced exit. Finished trials are kept; resume with: the command\n")
    assert is_gone_within(child, 60)


@pytest.mark.slow
def test_an_ignored_first_signal_ends_this_process_after_the_timeout(start):
    process, child = start("stubborn", timeout_s=0.5)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "resume with: the command" in output
    assert is_gone_within(child, 60)


def test_the_timeout_is_shorter_than_that_of_batch_systems():
    """They send SIGKILL after about thirty seconds."""
    assert 5 <= SHUTDOWN_TIMEOUT_S <= 28


def test_descendants_in_other_sessions_are_found(start):
    process, child = start("stubborn")
    assert {process.pid, child} <= set(find_descendants(os.getpid()))
