"""Leaving: one signal in order, the second one at once, whatever this process is doing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from embsweep.cli.signals import SHUTDOWN_TIMEOUT_S, find_descendants
from tests.processes import is_gone_within

# A command that says when it is ready; `busy` is what it does then.
PROGRAM = """
import subprocess, sys, time
from embsweep.cli import signals
from embsweep.cli.console import exit_codes

def stubborn():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=nothing, stderr=nothing, start_new_session=True)
    words = child.pid
    while True:
        try:
            print(words, flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            words = "heard"

def obedient():
    print(0, flush=True)
    time.sleep(600)

signals.SHUTDOWN_TIMEOUT_S = float(sys.argv[2])
with exit_codes(resume="the command"):
    {"stubborn": stubborn, "obedient": obedient}[sys.argv[1]]()
"""

# What a script's `&` does to a command: it is started deaf to SIGINT, and so is what it starts.
DEAF = [
    *(sys.executable, "-c"),
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
]


@pytest.fixture
def start():
    started = []

    def begin(busy, patience_s=600, is_deaf=False):
        command = [sys.executable, "-c", PROGRAM, busy, str(patience_s)]
        process = subprocess.Popen(
            [*DEAF, *command] if is_deaf else command,
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
@pytest.mark.parametrize("is_deaf", [False, True])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_leaves_in_order(start, sent, code, is_deaf):
    process, _ = start("obedient", is_deaf=is_deaf)
    process.send_signal(sent)
    _, output = process.communicate(timeout=60)
    assert process.returncode == code
    assert output == "Interrupted. Finished trials are kept; resume with: the command\n"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_one_leaves_at_once_with_all_that_was_started(start, sent, code):
    process, child = start("stubborn")
    process.send_signal(sent)
    assert process.stdout.readline() == "heard\n"
    assert process.poll() is None
    process.send_signal(sent)
    _, output = process.communicate(timeout=60)  # its patience with the first one is ten minutes
    assert (process.returncode, output) == (code, "Forced exit. Finished trials are kept; resume with: the command\n")
    assert is_gone_within(child, 60)


@pytest.mark.slow
def test_a_first_one_that_nobody_follows_is_enough_after_a_while(start):
    process, child = start("stubborn", patience_s=0.5)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "resume with: the command" in output
    assert is_gone_within(child, 60)


def test_a_while_is_less_than_a_batch_system_waits():
    """About thirty seconds, then it sends SIGKILL."""
    assert 5 <= SHUTDOWN_TIMEOUT_S <= 28


def test_descendants_are_found_in_other_sessions_too(start):
    process, child = start("stubborn")
    assert {process.pid, child} <= set(find_descendants(os.getpid()))
