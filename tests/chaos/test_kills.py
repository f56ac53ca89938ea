"""SIGKILL of the driver at chosen moments: the same command goes on, nothing is lost."""

import random
import time

import pytest

from tests.chaos.conftest import FULL, SEARCH, SMALL, count_trials
from tests.chaos.faults import LAST_PARTS, PARTS
from tests.chaos.fork_server import start_program
from tests.chaos.invariants import check_invariants

pytestmark = pytest.mark.slow

IN_THE_SEARCH = (("state", 4), ("on_trial_complete", 3))
IN_THE_CONFIRMATION = (("confirmation", 4), ("finalization", 2))
AT_THE_END = (("test", 2), ("registration", 2), ("close", 1))


@pytest.mark.usefixtures("search_unbroken")
def test_in_the_search_while_the_clock_goes_back(fork_server, sandbox, check, new_seed):
    """An hour with every start: no decision rests on the clock. Then once at any moment."""
    for hours, crash_at in enumerate(IN_THE_SEARCH):
        left = fork_server.run(sandbox, *SEARCH, die=list(crash_at), clock_s=-3600 * hours)
        assert left.code == -9, (crash_at, left.output)
    crash_point = random.Random(new_seed).randint(1, 200)
    assert fork_server.run(sandbox, *SEARCH, die=["any", crash_point], clock_s=-3600 * 2).code in (-9, 0), crash_point
    check(sandbox, *SEARCH, clock_s=-3600 * 3)


@pytest.mark.usefixtures("small_unbroken", "small_crowning")
@pytest.mark.parametrize(
    ("part", "aims"),
    [pytest.param("confirmation", IN_THE_CONFIRMATION, marks=pytest.mark.nightly), ("finalization", AT_THE_END)],
)
def test_after_the_search(fork_server, world_at, check, part, aims):
    sandbox = world_at(part, *SMALL)
    for crash_at in aims:
        left = fork_server.run(sandbox, *SMALL, die=list(crash_at))
        assert left.code == -9, (crash_at, left.output)
    check(sandbox, *SMALL)


@pytest.mark.nightly
def test_twenty_times_in_a_row(fork_server, sandbox, check):
    """Each part of a sweep has its turn; a life gets no further than one trial, so that twenty find their moment."""
    rng = random.Random(5)
    early = [part for part in PARTS if part != "publisher"] + [
        "publisher",
        "on_trial_result",
        "state",
        "checkpoint",
        "on_trial_complete",
    ]
    rng.shuffle(early)
    aims = [(part, rng.randint(1, 12)) for part in early[:12]]
    aims += [
        (part, rng.randint(1, 4)) for part in (*LAST_PARTS, "test", "registration", "registration", "finalization")
    ]
    codes = [fork_server.run(sandbox, *FULL, die=list(crash_at)).code for crash_at in aims]
    assert codes == [-9] * 20, list(zip(aims, codes, strict=True))
    check(sandbox, *FULL)


@pytest.mark.nightly
def test_at_any_moment(fork_server, sandbox, check, new_seed):
    rng = random.Random(new_seed)
    while fork_server.run(sandbox, *FULL, die=["any", rng.randint(100, 1500)]).code == -9:
        pass
    check(sandbox, *FULL)


@pytest.mark.nightly
def test_from_outside_as_a_user_starts_it(sandbox, unbroken_of):
    """A new interpreter, killed while it imports and while it runs; proof in a fresh process, as it is."""
    for words, delay_s in (("", 1.0), ("trial 1 starts", 0.0)):
        driver = start_program(sandbox, *FULL, real_proof=True)
        driver.wait_for(words)
        time.sleep(delay_s)
        driver.send(9)
        assert driver.wait().code == -9
    left = start_program(sandbox, *FULL, real_proof=True).wait()
    assert check_invariants(sandbox, unbroken_of(FULL), code=left.code, trials=count_trials(FULL)) == [], left.output


@pytest.mark.nightly
def test_a_clock_that_goes_back_an_hour_changes_nothing(fork_server, sandbox, check):
    for hours in range(3):
        left = fork_server.run(sandbox, *FULL, clock_s=-3600 * hours, die=["on_trial_result", 40])
        assert left.code == -9
    check(sandbox, *FULL, clock_s=-3600 * 3)
