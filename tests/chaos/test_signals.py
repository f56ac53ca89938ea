"""SIGINT and SIGTERM: a graceful exit, and an immediate one after a second signal or the shutdown timeout."""

import signal
import time

import psutil
import pytest

from tests.chaos.conftest import FULL, SEARCH, SMALL
from tests.chaos.faults import INTERRUPTED, check_exit
from tests.chaos.fork_server import start_program
from tests.chaos.scripted import INTERRUPT_IGNORED, UNINTERRUPTIBLE
from tests.processes import is_alive, is_gone_within

pytestmark = pytest.mark.slow

BOTH = [signal.SIGINT, signal.SIGTERM]
RAY = ("runner=local", "search.sampler=random", "stopping=none", *SMALL)
NEVER_S = 3600.0
"""Shutdown timeout in tests of a second signal, so that the first one alone cannot end the driver."""


@pytest.mark.usefixtures("search_reference")
def test_a_signal_in_the_search_exits_gracefully_and_the_sweep_resumes(fork_server, sandbox, check):
    for crash_at in (["state", 3, signal.SIGTERM], ["on_trial_complete", 3, signal.SIGINT]):
        check_exit(fork_server.run(sandbox, *SEARCH, signal=crash_at), crash_at[-1])
    check(sandbox, *SEARCH)


@pytest.mark.usefixtures("small_reference")
def test_a_signal_after_the_search_exits_gracefully_and_the_sweep_resumes(fork_server, sandbox_at, check):
    sandbox = sandbox_at("confirmation", *SMALL)
    for crash_at in (["confirmation", 3, signal.SIGTERM], ["registration", 3, signal.SIGINT]):
        result = fork_server.run(sandbox, *SMALL, signal=crash_at)
        assert result.code == INTERRUPTED[crash_at[-1]], result.output
        check_exit(result, crash_at[-1])
    check(sandbox, *SMALL)


@pytest.mark.nightly
def test_signals_in_every_part_exit_gracefully_and_the_sweep_resumes(fork_server, sandbox, check):
    """Each part of one sweep in turn, with either signal."""
    for part in ("start", "state", "on_trial_result", "on_trial_complete", "confirmation", "registration"):
        for sent in BOTH:
            result = fork_server.run(sandbox, *FULL, signal=[part, 3, int(sent)])
            assert result.code == INTERRUPTED[sent], result.output
            check_exit(result, sent)
    check(sandbox, *FULL)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGINT),
        *(pytest.param(*two, marks=pytest.mark.nightly) for two in ((BOTH[0], BOTH[0]), BOTH, (BOTH[1], BOTH[1]))),
    ],
)
def test_a_second_signal_exits_immediately(fork_server, sandbox, first, second):
    """A trial that ignores interrupts delays the graceful exit after the first signal."""
    driver = fork_server.start(sandbox, *SMALL, plan={"0": "uninterruptible"}, shutdown_timeout_s=NEVER_S)
    driver.wait_for(UNINTERRUPTIBLE)
    driver.send(first)
    driver.wait_for(INTERRUPT_IGNORED)
    assert is_alive(driver.pid), driver.output
    driver.send(second)
    result = driver.wait()
    assert result.code == INTERRUPTED[first], result.output
    assert "Forced exit" in result.output
    assert "resume with:" in result.output


def test_a_single_signal_exits_after_the_shutdown_timeout(fork_server, sandbox):
    driver = fork_server.start(sandbox, *SMALL, plan={"0": "uninterruptible"}, shutdown_timeout_s=0.5)
    driver.wait_for(UNINTERRUPTIBLE)
    driver.send(signal.SIGTERM)
    result = driver.wait()
    assert result.code == 143, result.output
    check_exit(result, signal.SIGTERM)


@pytest.mark.nightly
def test_a_script_can_end_a_driver_that_it_started_in_the_background(fork_server, sandbox):
    """Shells start such processes with SIGINT ignored."""
    result = fork_server.run(sandbox, *SMALL, ignore_sigint=True, signal=["on_trial_result", 3, int(signal.SIGTERM)])
    check_exit(result, signal.SIGTERM)
    assert result.code == 143


@pytest.mark.ray
def test_with_ray_a_second_signal_ends_all_its_processes_too(fork_server, sandbox):
    plan = {"0": "uninterruptible", "1": "uninterruptible"}
    driver = fork_server.start(sandbox, *RAY, plan=plan, shutdown_timeout_s=NEVER_S, without_torch=True)
    driver.wait_for("at 25%", 240)
    processes = [process.pid for process in psutil.Process(driver.pid).children(recursive=True)]
    driver.send(signal.SIGINT)
    driver.send(signal.SIGTERM)
    result = driver.wait()
    assert result.code in (130, 143), result.output
    assert "Forced exit" in result.output
    assert len(processes) > 3, "Ray's own, and a worker"
    assert [pid for pid in processes if not is_gone_within(pid, 30)] == []


@pytest.mark.ray
@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_with_ray_a_signal_exits_gracefully(fork_server, sandbox, sent):
    """The whole of `main`, through Hydra, as in the program."""
    driver = fork_server.start(sandbox, *RAY, plan={"0": "sleep", "1": "sleep"}, without_torch=True, with_hydra=True)
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    result = driver.wait()
    assert result.code == INTERRUPTED[sent], result.output
    check_exit(result, sent)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("delay_s", [1.0, 3.0])
def test_a_signal_while_ray_starts_exits_gracefully(sandbox, delay_s):
    """Meanwhile Ray handles SIGTERM itself and would end the process with another exit code."""
    driver = start_program(sandbox, *RAY)
    driver.wait_for("trial 0 starts", 240)
    time.sleep(delay_s)
    driver.send(signal.SIGTERM)
    result = driver.wait()
    assert result.code == 143, result.output
    check_exit(result, signal.SIGTERM)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("sent", BOTH)
def test_the_program_itself_with_ray_exits_gracefully(sandbox, sent):
    driver = start_program(sandbox, *RAY, plan={"0": "sleep", "1": "sleep"})
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    result = driver.wait()
    assert result.code == INTERRUPTED[sent], result.output
    check_exit(result, sent)
