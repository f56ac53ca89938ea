"""SIGKILL of the driver at chosen crash points: the same command resumes and nothing is lost."""

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
AT_THE_END = (("test", 2), ("registration", 2), ("evidence", 2))


@pytest.mark.usefixtures("search_reference")
def test_kills_in_the_search_while_the_clock_is_set_back(fork_server, sandbox, check, new_seed):
    """By an hour before every start: no decision depends on the clock. The last kill is at a random crash point."""
    for hours, crash_at in enumerate(IN_THE_SEARCH):
        result = fork_server.run(sandbox, *SEARCH, die=list(crash_at), clock_s=-3600 * hours)
        assert result.code == -9, (crash_at, result.output)
    crash_point = random.Random(new_seed).randint(1, 200)
    assert fork_server.run(sandbox, *SEARCH, die=["any", crash_point], clock_s=-3600 * 2).code in (-9, 0), crash_point
    check(sandbox, *SEARCH, clock_s=-3600 * 3)


@pytest.mark.usefixtures("small_reference", "small_finalization")
@pytest.mark.parametrize(
    ("part", "crash_points"),
    [pytest.param("confirmation", IN_THE_CONFIRMATION, marks=pytest.mark.nightly), ("test", AT_THE_END)],
)
def test_kills_after_the_search(fork_server, sandbox_at, check, part, crash_points):
    sandbox = sandbox_at(part, *SMALL)
    for crash_at in crash_points:
        result = fork_server.run(sandbox, *SMALL, die=list(crash_at))
        assert result.code == -9, (crash_at, result.output)
    check(sandbox, *SMALL)


@pytest.mark.nightly
def test_twenty_kills_in_a_row(fork_server, sandbox, check):
    """In every part of a sweep; no run gets further than one trial, so that all twenty crash points are reached."""
    rng = random.Random(5)
    early = [part for part in PARTS if part != "mlflow"] + [
        "mlflow",
        "on_trial_result",
        "state",
        "checkpoint",
        "on_trial_complete",
    ]
    rng.shuffle(early)
    crash_points = [(part, rng.randint(1, 12)) for part in early[:12]]
    crash_points += [(part, 1) for part in LAST_PARTS]
    crash_points += [("registration", 2), ("registration", 4), ("finalization", 2)]
    codes = [fork_server.run(sandbox, *FULL, die=list(crash_at)).code for crash_at in crash_points]
    assert codes == [-9] * 20, list(zip(crash_points, codes, strict=True))
    check(sandbox, *FULL)


@pytest.mark.nightly
def test_kills_at_random_crash_points(fork_server, sandbox, check, new_seed):
    rng = random.Random(new_seed)
    while fork_server.run(sandbox, *FULL, die=["any", rng.randint(100, 1500)]).code == -9:
        pass
    check(sandbox, *FULL)


@pytest.mark.nightly
def test_kills_from_outside_of_the_program_that_a_user_starts(sandbox, reference_of):
    """A new interpreter, killed while it imports and while it runs; the winner is verified in a fresh process."""
    for words, delay_s in (("", 1.0), ("trial 1 starts", 0.0)):
        driver = start_program(sandbox, *FULL, real_verification=True)
        driver.wait_for(words)
        time.sleep(delay_s)
        driver.send(9)
        assert driver.wait().code == -9
    result = start_program(sandbox, *FULL, real_verification=True).wait()
    assert check_invariants(sandbox, reference_of(FULL), code=result.code, trials=count_trials(FULL)) == [], (
        result.output
    )


@pytest.mark.nightly
def test_a_clock_set_back_by_an_hour_changes_no_result(fork_server, sandbox, check):
    for hours in range(3):
        result = fork_server.run(sandbox, *FULL, clock_s=-3600 * hours, die=["on_trial_result", 40])
        assert result.code == -9
    check(sandbox, *FULL, clock_s=-3600 * 3)
