"""SIGINT and SIGTERM: in order, and at once when they come twice or where order takes too long."""

import signal
import time

import pytest

from embsweep.cli.signals import find_descendants
from tests.chaos.conftest import FULL, SEARCH, SMALL
from tests.chaos.faults import INTERRUPTED, check_left
from tests.chaos.nursery import start_program
from tests.chaos.scripted import DEAF, HEARD
from tests.processes import is_alive, is_gone_within

pytestmark = pytest.mark.slow

BOTH = [signal.SIGINT, signal.SIGTERM]
RAY = ("runner=local", "search.sampler=random", "stopping=none", *SMALL)
NEVER_S = 3600.0
"""The patience of tests of a second signal: whoever leaves has not left for the first one's sake."""


@pytest.mark.usefixtures("search_unbroken")
def test_in_the_search_it_leaves_in_order_and_goes_on(nursery, world, check):
    for aim in (["state", 3, signal.SIGTERM], ["finished", 3, signal.SIGINT]):
        check_left(nursery.run(world, *SEARCH, signal=aim), aim[-1])
    check(world, *SEARCH)


@pytest.mark.usefixtures("small_unbroken")
def test_after_the_search_it_leaves_in_order_and_goes_on(nursery, world_at, check):
    world = world_at("confirmation", *SMALL)
    for aim in (["confirmation", 3, signal.SIGTERM], ["registration", 3, signal.SIGINT]):
        left = nursery.run(world, *SMALL, signal=aim)
        assert left.code == INTERRUPTED[aim[-1]], left.output
        check_left(left, aim[-1])
    check(world, *SMALL)


@pytest.mark.nightly
def test_it_leaves_in_order_and_goes_on(nursery, world, check):
    """Part after part of one sweep, with either signal."""
    for part in ("start", "state", "report", "finished", "confirmation", "registration"):
        for sent in BOTH:
            left = nursery.run(world, *FULL, signal=[part, 3, int(sent)])
            assert left.code == INTERRUPTED[sent], left.output
            check_left(left, sent)
    check(world, *FULL)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGINT),
        *(pytest.param(*two, marks=pytest.mark.nightly) for two in ((BOTH[0], BOTH[0]), BOTH, (BOTH[1], BOTH[1]))),
    ],
)
def test_a_second_one_leaves_at_once(nursery, world, first, second):
    """A trial that does not let itself be interrupted holds up the first one."""
    driver = nursery.start(world, *SMALL, plan={"0": "deaf"}, patience_s=NEVER_S)
    driver.wait_for(DEAF)
    driver.send(first)
    driver.wait_for(HEARD)
    assert is_alive(driver.pid), driver.output
    driver.send(second)
    left = driver.wait()
    assert left.code == INTERRUPTED[first], left.output
    assert "Left at once" in left.output
    assert "go on with:" in left.output


def test_one_that_nobody_follows_leaves_when_its_patience_is_over(nursery, world):
    driver = nursery.start(world, *SMALL, plan={"0": "deaf"}, patience_s=0.5)
    driver.wait_for(DEAF)
    driver.send(signal.SIGTERM)
    left = driver.wait()
    assert left.code == 143, left.output
    check_left(left, signal.SIGTERM)


@pytest.mark.nightly
def test_a_script_that_starts_it_in_the_background_can_end_it(nursery, world):
    """Shells make such processes ignore SIGINT."""
    left = nursery.run(world, *SMALL, ignore_sigint=True, signal=["report", 3, int(signal.SIGTERM)])
    check_left(left, signal.SIGTERM)
    assert left.code == 143


@pytest.mark.ray
def test_with_ray_a_second_one_takes_its_processes_along(nursery, world):
    driver = nursery.start(world, *RAY, plan={"0": "deaf", "1": "deaf"}, patience_s=NEVER_S, without_torch=True)
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
def test_with_ray_it_leaves_in_order(nursery, world, sent):
    """The whole of `main`, behind Hydra, as the program."""
    driver = nursery.start(world, *RAY, plan={"0": "sleep", "1": "sleep"}, without_torch=True, with_hydra=True)
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    left = driver.wait()
    assert left.code == INTERRUPTED[sent], left.output
    check_left(left, sent)


@pytest.mark.nightly
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


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("sent", BOTH)
def test_the_program_itself_with_ray_leaves_in_order(world, sent):
    driver = start_program(world, *RAY, plan={"0": "sleep", "1": "sleep"})
    driver.wait_for("at 25%", 240)
    driver.send(sent)
    left = driver.wait()
    assert left.code == INTERRUPTED[sent], left.output
    check_left(left, sent)
