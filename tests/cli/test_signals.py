"""Signals: the first one exits gracefully, the second one immediately, whatever this process is doing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from embsweep.cli.signals import SHUTDOWN_TIMEOUT_S
from tests.processes import is_gone_within

# A command that prints a line when it is ready, and then runs the function named by its first argument.
PROGRAM = """
import subprocess, sys, time
from embsweep.cli import signals
from embsweep.cli.console import exit_codes

def sleep():  # in short pieces: an interrupt that comes just before `time.sleep` is raised only after it
    for _ in range(12_000):
        time.sleep(0.05)

def stubborn():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=nothing, stderr=nothing, start_new_session=True)
    line = child.pid
    while True:
        try:
            print(line, flush=True)
            sleep()
        except KeyboardInterrupt:
            line = "ignored"

def obedient():
    print(0, flush=True)
    sleep()

signals.SHUTDOWN_TIMEOUT_S = float(sys.argv[2])
with exit_codes(resume="the command"):
    {"stubborn": stubborn, "obedient": obedient}[sys.argv[1]]()
"""

# As a script's `&` (SIGINT) and `nohup` (SIGHUP) do: start the command with a signal ignored.
IGNORING = [
    *(sys.executable, "-c"),
    "import os, signal, sys; signal.signal(int(sys.argv[1]), signal.SIG_IGN); os.execv(sys.argv[2], sys.argv[2:])",
]


@pytest.fixture
def start():
    started = []

    def begin(task, timeout_s=600, ignored=None):
        command = [sys.executable, "-c", PROGRAM, task, str(timeout_s)]
        process = subprocess.Popen(
            command if ignored is None else [*IGNORING, str(int(ignored)), *command],
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
@pytest.mark.parametrize(
    ("sent", "code", "ignored"),
    [
        (signal.SIGINT, 130, signal.SIGINT),
        (signal.SIGTERM, 143, signal.SIGINT),
        (signal.SIGTERM, 143, None),
        (signal.SIGHUP, 129, None),
    ],
)
def test_one_signal_exits_gracefully(start, sent, code, ignored):
    process, _ = start("obedient", ignored=ignored)
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


@pytest.mark.slow
def test_a_command_that_was_started_with_nohup_survives_the_end_of_its_terminal(start):
    process, _ = start("obedient", ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
