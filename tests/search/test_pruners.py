"""Rungs as fractions of a trial's schedule: the position of the first rung, and the decisions at each."""

import pytest
from optuna.storages import InMemoryStorage
from tests.ledgers import open_search, report_at

from embsweep.config.search_space import IntRange
from embsweep.config.sweep import StoppingConfig
from embsweep.search.pruners import fraction_to_step


def open_ledger(kind="successive_halving", first=0.25, **stopping):
    space = (IntRange("x", 0, 9),)
    return open_search(InMemoryStorage(), space, stopping=StoppingConfig(kind=kind, **stopping), first=first)


def stops_at(fractions, *, kind="successive_halving", first=0.25, **stopping):
    """Return the fraction at which each of eight trials is stopped, or None; the better trials come first."""
    ledger = open_ledger(kind, first, **stopping)
    stops = []
    for rank in range(8):
        number = ledger.ask().number
        value = 1.0 - rank / 10
        stops.append(next((f for f in fractions if ledger.report(number, report_at(f, value))), None))
    return stops


def test_the_first_rung_is_the_larger_of_the_configured_and_the_first_evaluation():
    """A trial that passed several rungs at once would have to be in the better half of the better half."""
    later = stops_at((0.125, 0.25, 0.5), first=0.125, min_fraction=0.25)
    assert later == [None, *[0.25] * 7]
    assert stops_at((0.125, 0.25, 0.5), first=0.25, min_fraction=0.125) == later
    assert stops_at((0.125, 0.25, 0.5), first=0.125, min_fraction=0.125) == [None, *[0.125] * 7]


def test_a_first_evaluation_after_the_configured_minimum_is_one_rung_and_not_several():
    """With the default minimum of a sixteenth, three rungs are before the first evaluation."""
    values = (0.30, 0.50, 0.40, 0.45, 0.42, 0.48, 0.47, 0.49)
    ledger = open_ledger()
    assert [ledger.report(ledger.ask().number, report_at(0.25, value)) for value in values] == [
        False, False, True, False, True, False, False, False,
    ]  # fmt: skip


def test_a_larger_reduction_factor_keeps_fewer():
    assert stops_at((0.25, 0.5), reduction_factor=2).count(None) == 1
    values = (0.4, 0.5, 0.6, 0.7)
    kept = {}
    for factor in (2, 4):
        ledger = open_ledger(reduction_factor=factor)
        for value in values:
            ledger.report(ledger.ask().number, report_at(0.25, value))
        kept[factor] = not ledger.report(ledger.ask().number, report_at(0.25, 0.65))
    assert kept == {2: True, 4: False}


@pytest.mark.parametrize("kind", ["successive_halving", "hyperband"])
def test_the_best_trial_is_never_stopped(kind):
    assert stops_at((0.25, 0.5, 1.0), kind=kind)[0] is None


def test_brackets_begin_at_every_rung_of_the_schedule():
    assert {0.25, 0.5, 1.0} <= set(stops_at((0.25, 0.5, 1.0), kind="hyperband"))


@pytest.mark.parametrize(
    ("fraction", "resource"), [(1.0, 1000), (0.5, 500), (0.0625, 62), (0.0001, 1), (0.9999, 999), (1 / 3, 333)]
)
def test_fraction_to_step_rounds_down_so_that_no_rung_is_missed(fraction, resource):
    assert fraction_to_step(fraction) == resource
