"""SIGKILL of the driver at chosen moments: the same command goes on, nothing is lost."""

import random
import time

import pytest

from tests.chaos.conftest import FULL, SEARCH, SMALL, count_trials
from tests.chaos.faults import LAST_PARTS, PARTS
from tests.chaos.invariants import check_invariants
from tests.chaos.nursery import start_program

pytestmark = pytest.mark.slow

IN_THE_SEARCH = (("state", 4), ("finished", 3))
IN_THE_CONFIRMATION = (("confirmation", 4), ("crowning", 2))
AT_THE_END = (("test", 2), ("registration", 2), ("farewell", 1))


@pytest.mark.usefixtures("search_unbroken")
def test_in_the_search_while_the_clock_goes_back(nursery, world, check, new_seed):
    """An hour with every start: no decision rests on the clock. Then once at any moment."""
    for hours, aim in enumerate(IN_THE_SEARCH):
        left = nursery.run(world, *SEARCH, die=list(aim), clock_s=-3600 * hours)
        assert left.code == -9, (aim, left.output)
    moment = random.Random(new_seed).randint(1, 200)
    assert nursery.run(world, *SEARCH, die=["any", moment], clock_s=-3600 * 2).code in (-9, 0), moment
    check(world, *SEARCH, clock_s=-3600 * 3)


@pytest.mark.usefixtures("small_unbroken", "small_crowning")
@pytest.mark.parametrize(
    ("part", "aims"),
    [pytest.param("confirmation", IN_THE_CONFIRMATION, marks=pytest.mark.nightly), ("crowning", AT_THE_END)],
)
def test_after_the_search(nursery, world_at, check, part, aims):
    world = world_at(part, *SMALL)
    for aim in aims:
        left = nursery.run(world, *SMALL, die=list(aim))
        assert left.code == -9, (aim, left.output)
    check(world, *SMALL)


@pytest.mark.nightly
def test_twenty_times_in_a_row(nursery, world, check):
    """Each part of a sweep has its turn; a life gets no further than one trial, so that twenty find their moment."""
    rng = random.Random(5)
    early = [part for part in PARTS if part != "courier"] + ["courier", "report", "state", "checkpoint", "finished"]
    rng.shuffle(early)
    aims = [(part, rng.randint(1, 12)) for part in early[:12]]
    aims += [(part, rng.randint(1, 4)) for part in (*LAST_PARTS, "test", "registration", "registration", "crowning")]
    codes = [nursery.run(world, *FULL, die=list(aim)).code for aim in aims]
    assert codes == [-9] * 20, list(zip(aims, codes, strict=True))
    check(world, *FULL)


@pytest.mark.nightly
def test_at_any_moment(nursery, world, check, new_seed):
    rng = random.Random(new_seed)
    while nursery.run(world, *FULL, die=["any", rng.randint(100, 1500)]).code == -9:
        pass
    check(world, *FULL)


@pytest.mark.nightly
def test_from_outside_as_a_user_starts_it(world, unbroken_of):
    """A new interpreter, killed while it imports and while it runs; proof in a fresh process, as it is."""
    for words, delay_s in (("", 1.0), ("trial 1 starts", 0.0)):
        driver = start_program(world, *FULL, real_proof=True)
        driver.wait_for(words)
        time.sleep(delay_s)
        driver.send(9)
        assert driver.wait().code == -9
    left = start_program(world, *FULL, real_proof=True).wait()
    assert check_invariants(world, unbroken_of(FULL), code=left.code, trials=count_trials(FULL)) == [], left.output


@pytest.mark.nightly
def test_a_clock_that_goes_back_an_hour_changes_nothing(nursery, world, check):
    for hours in range(3):
        left = nursery.run(world, *FULL, clock_s=-3600 * hours, die=["report", 40])
        assert left.code == -9
    check(world, *FULL, clock_s=-3600 * 3)
