"""What a sweep says of its search before it begins or goes on."""

import pytest

from embsweep.sweep.run import describe_budget, describe_resumption
from tests.ledgers import Memory, open_search, report_at
from tests.sweep.schedulers import SPACE
from tests.texts import numbers_in


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ({"trials": 8}, "8 trials, at most 8 full schedules"),
        ({"trials": 8, "schedules": 2.5}, "8 trials, at most 2.5 full schedules"),
        ({"trials": 8, "stopping": "promotion"}, "8 trials, about 5 full schedules"),
        ({"trials": 8, "stopping": "promotion", "schedules": 4.0}, "8 trials, at most 4 full schedules"),
    ],
)
def test_the_budget_is_an_estimate_or_a_limit(search, text):
    ledger = open_search(Memory().open(), SPACE, **search)
    assert describe_budget(ledger, search.get("schedules")) == text


def test_a_resumed_search_says_what_is_finished_and_what_is_paused():
    ledger = open_search(Memory().open(), SPACE, trials=8, stopping="promotion")
    numbers = [ledger.ask().number for _ in range(4)]
    for number in numbers[:2]:
        ledger.report(number, report_at(0.25, 0.5))
        ledger.stop(number)
    ledger.fail(2, "loss is nan")
    assert numbers_in(describe_resumption(ledger)) == [1, 8, 2]
    assert "the others follow" in describe_resumption(ledger)


def test_a_search_that_its_limit_has_ended_goes_on_with_the_confirmation():
    ledger = open_search(Memory().open(), SPACE, trials=8, schedules=1.0)
    number = ledger.ask().number
    ledger.report(number, report_at(1.0, 0.5))
    ledger.complete(number, 0.5)
    assert describe_resumption(ledger) == "Resuming: 1 of 8 trials are finished, confirmation and test follow."
