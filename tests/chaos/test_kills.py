"""SIGKILL of the driver, twenty times in a row and at chosen moments: the same command goes on, nothing is lost."""

import random
import time

import pytest

from .conftest import TRIALS
from .faults import LAST_PARTS, PARTS
from .nursery import start_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ARGUMENTS = (f"search.trials={TRIALS}",)
SEED = 5


def test_twenty_times_in_a_row(nursery, world, check):
    """Each part of a sweep has its turn; a life gets no further than one trial, so that twenty find their moment."""
    rng = random.Random(SEED)
    early = [part for part in PARTS if part != "courier"] + ["courier", "report", "state", "checkpoint", "finished"]
    rng.shuffle(early)
    aims = [(part, rng.randint(1, 12)) for part in early[:12]]
    aims += [(part, rng.randint(1, 4)) for part in (*LAST_PARTS, "test", "registration", "registration", "crowning")]
    codes = [nursery.run(world, *ARGUMENTS, die=list(aim)).code for aim in aims]
    assert codes == [-9] * 20, list(zip(aims, codes, strict=True))
    check(nursery.run(world, *ARGUMENTS))


def test_at_any_moment(nursery, world, check):
    rng = random.Random(SEED)
    while (left := nursery.run(world, *ARGUMENTS, die=["any", rng.randint(100, 1500)])).code == -9:
        pass
    check(left)


def test_from_outside_as_a_user_starts_it(nursery, world, check):
    """A new interpreter, killed while it imports and while it runs; proof in a fresh process, as it is."""
    for words, delay_s in (("", 1.0), ("trial 1 starts", 0.0)):
        driver = start_program(world, *ARGUMENTS, real_proof=True)
        driver.wait_for(words)
        time.sleep(delay_s)
        driver.send(9)
        assert driver.wait().code == -9
    check(start_program(world, *ARGUMENTS, real_proof=True).wait())


def test_a_clock_that_goes_back_an_hour_changes_nothing(nursery, world, check):
    for hours in range(3):
        left = nursery.run(world, *ARGUMENTS, clock_s=-3600 * hours, die=["report", 40])
        assert left.code == -9
    check(nursery.run(world, *ARGUMENTS, clock_s=-3600 * 3))
