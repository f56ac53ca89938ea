"""SIGINT and SIGTERM: in order, and at once when they come twice or where order takes too long."""

import signal
import time

import pytest

from embsweep.cli.signals import find_descendants
from tests.chaos.conftest import FULL, SEARCH, SMALL
from tests.chaos.faults import INTERRUPTED, check_left
from tests.chaos.fork_server import start_program
from tests.chaos.scripted import DEAF, HEARD
from tests.processes import is_alive, is_gone_within

pytestmark = pytest.mark.slow

BOTH = [signal.SIGINT, signal.SIGTERM]
RAY = ("runner=local", "search.sampler=random", "stopping=none", *SMALL)
NEVER_S = 3600.0
"""The patience of tests of a second signal: whoever leaves has not left for the first one's sake."""


@pytest.mark.usefixtures("search_unbroken")
def test_in_the_search_it_leaves_in_order_and_goes_on(fork_server, sandbox, check):
    for crash_at in (["state", 3, signal.SIGTERM], ["on_trial_complete", 3, signal.SIGINT]):
        check_left(fork_server.run(sandbox, *SEARCH, signal=crash_at), crash_at[-1])
    check(sandbox, *SEARCH)


@pytest.mark.usefixtures("small_unbroken")
def test_after_the_search_it_leaves_in_order_and_goes_on(fork_server, world_at, check):
    sandbox = world_at("confirmation", *SMALL)
    for crash_at in (["confirmation", 3, signal.SIGTERM], ["registration", 3, signal.SIGINT]):
        left = fork_server.run(sandbox, *SMALL, signal=crash_at)
        assert left.code == INTERRUPTED[crash_at[-1]], left.output
        check_left(left, crash_at[-1])
    check(sandbox, *SMALL)


@pytest.mark.nightly
def test_it_leaves_in_order_and_goes_on(fork_server, sandbox, check):
    """Part after part of one sweep, with either signal."""
    for part in ("start", "state", "on_trial_result", "on_trial_complete", "confirmation", "registration"):
        for sent in BOTH:
            left = fork_server.run(sandbox, *FULL, signal=[part, 3, int(sent)])
            assert left.code == INTERRUPTED[sent], left.output
            check_left(left, sent)
    check(sandbox, *FULL)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGINT),
        *(pytest.param(*two, marks=pytest.mark.nightly) for two in ((BOTH[0], BOTH[0]), BOTH, (BOTH[1], BOTH[1]))),
    ],
)
def test_a_second_one_leaves_at_once(fork_server, sandbox, first, second):
    """A trial that does not let itself be interrupted holds up the first one."""
    driver = fork_server.start(sandbox, *SMALL, plan={"0": "deaf"}, patience_s=NEVER_S)
    driver.wait_for(DEAF)
    driver.send(first)
    driver.wait_for(HEARD)
    assert is_alive(driver.pid), driver.output
    driver.send(second)
    left = driver.wait()
    assert left.code == INTERRUPTED[first], left.output
    assert "Left at once" in left.output
    assert "go on with:" in left.output


def test_one_that_nobody_follows_leaves_when_its_patience_is_over(fork_server, sandbox):
    driver = fork_server.start(sandbox, *SMALL, plan={"0": "deaf"}, patience_s=0.5)
    driver.wait_for(DEAF)
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert left.code == 143, left.output
    check_left(left, signal.SIGTERM)


@pytest.mark.nightly
def test_a_script_that_starts_it_in_the_background_can_end_it(fork_server, sandbox):
    """Shells make such processes ignore SIGINT."""
    left = fork_server.run(sandbox, *SMALL, ignore_sigint=True, signal=["on_trial_result", 3, int(signal.SIGTERM)])
    check_left(left, signal.SIGTERM)
    assert left.code == 143


@pytest.mark.ray
def test_with_ray_a_second_one_takes_its_processes_along(fork_server, sandbox):
    driver = fork_server.start(sandbox, *RAY, plan={"0": "deaf", "1": "deaf"}, patience_s=NEVER_S, without_torch=True)
    driver.wait_for("at 25%", 240)
    family = find_descendants(driver.pid)
    driver.send(signal.SIGINT)
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert left.code in (130, 143), left.output
    assert "Left at once" in left.output
    assert len(family) > 3, "Ray's own, and a worker"
    assert [pid for pid in family if not is_gone_within(pid, 30)] == []


@pytest.mark.ray
@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_with_ray_it_leaves_in_order(fork_server, sandbox, sent):
    """The whole of `main`, behind Hydra, as the program."""
    driver = fork_server.start(sandbox, *RAY, plan={"0": "sleep", "1": "sleep"}, without_torch=True, with_hydra=True)
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    left = driver.wait()
    assert left.code == INTERRUPTED[sent], left.output
    check_left(left, sent)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("delay_s", [1.0, 3.0])
def test_while_ray_is_started_too(sandbox, delay_s):
    """It takes SIGTERM for itself meanwhile, and would end the process with a code of its own."""
    driver = start_program(sandbox, *RAY)
    driver.wait_for("trial 0 starts", 240)
    time.sleep(delay_s)
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert left.code == 143, left.output
    check_left(left, signal.SIGTERM)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("sent", BOTH)
def test_the_program_itself_with_ray_leaves_in_order(sandbox, sent):
    driver = start_program(sandbox, *RAY, plan={"0": "sleep", "1": "sleep"})
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    left = driver.wait()
    assert left.code == INTERRUPTED[sent], left.output
    check_left(left, sent)
