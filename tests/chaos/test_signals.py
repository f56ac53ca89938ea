"""SIGINT and SIGTERM: in order within seconds, at once when they come twice."""

import signal
import time

import pytest

from embsweep.app.leaving import find_descendants

from ..processes import is_alive
from .conftest import TRIALS
from .faults import GRACE_S, INTERRUPTED, check_left
from .nursery import start_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ARGUMENTS = (f"search.trials={TRIALS}",)
BOTH = [signal.SIGINT, signal.SIGTERM]
RAY = ("runner=local", "search.sampler=random", "stopping=none", *ARGUMENTS)
AT_ONCE_S = 2.0


def test_it_leaves_in_order_and_goes_on(nursery, world, check):
    """Part after part of one sweep, with either signal."""
    for part in ("start", "state", "report", "finished", "confirmation", "registration"):
        for sent in BOTH:
            left = nursery.run(world, *ARGUMENTS, signal=[part, 3, int(sent)])
            assert left.code == INTERRUPTED[sent], left.output
            check_left(left, sent)
            assert left.lived_s < GRACE_S + 60
    check(nursery.run(world, *ARGUMENTS))


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_a_second_one_leaves_at_once(nursery, world, first, second):
    """A trial that does not let itself be interrupted holds up the first one."""
    driver = nursery.start(world, *ARGUMENTS, plan={"0": "deaf"})
    driver.wait_for("trial 0 at 25%")
    driver.send(first)
    time.sleep(0.5)
    assert is_alive(driver.pid), driver.output
    begun = time.monotonic()
    driver.send(second)
    left = driver.wait()
    assert time.monotonic() - begun < AT_ONCE_S
    assert left.code == INTERRUPTED[first], left.output
    assert "Left at once" in left.output
    assert "go on with:" in left.output


def test_one_that_nobody_follows_leaves_within_thirty_seconds(nursery, world):
    driver = nursery.start(world, *ARGUMENTS, plan={"0": "deaf"})
    driver.wait_for("trial 0 at 25%")
    begun = time.monotonic()
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert time.monotonic() - begun < GRACE_S
    check_left(left, signal.SIGTERM)


def test_a_script_that_starts_it_in_the_background_can_end_it(nursery, world):
    """Shells make such processes ignore SIGINT."""
    left = nursery.run(world, *ARGUMENTS, ignore_sigint=True, signal=["report", 3, int(signal.SIGTERM)])
    check_left(left, signal.SIGTERM)
    assert left.code == 143


@pytest.mark.ray
def test_with_ray_it_leaves_at_once_and_takes_its_processes_along(world):
    driver = start_program(world, *RAY, plan={"0": "deaf", "1": "deaf"})
    driver.wait_for("at 25%", 240)
    driver.send(signal.SIGINT)
    time.sleep(1)
    family = find_descendants(driver.pid)
    begun = time.monotonic()
    driver.send(signal.SIGINT)
    left = driver.wait()
    assert time.monotonic() - begun < AT_ONCE_S
    assert left.code == 130, left.output
    deadline = time.monotonic() + 5
    while any(map(is_alive, family)):
        assert time.monotonic() < deadline, [pid for pid in family if is_alive(pid)]
        time.sleep(0.1)


@pytest.mark.ray
@pytest.mark.parametrize("delay_s", [1.0, 3.0])
def test_while_ray_is_started_too(world, delay_s):
    """It takes SIGTERM for itself meanwhile, and would end the process with a code of its own."""
    driver = start_program(world, *RAY)
    driver.wait_for("trial 0 starts", 240)
    time.sleep(delay_s)
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert left.code == 143, left.output
    check_left(left, signal.SIGTERM)


@pytest.mark.ray
@pytest.mark.parametrize("sent", BOTH)
def test_with_ray_it_leaves_in_order(world, sent):
    driver = start_program(world, *RAY, plan={"0": "sleep", "1": "sleep"})
    driver.wait_for("at 25%", 240)
    begun = time.monotonic()
    driver.send(sent)
    left = driver.wait()
    assert time.monotonic() - begun < GRACE_S, left.output
    assert left.code == INTERRUPTED[sent], left.output
    check_left(left, sent)
