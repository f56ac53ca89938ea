"""Points that are impossible or that an earlier trial has are drawn again, as a function of the ledger alone."""

import math

import pytest
from tests.ledgers import Memory, report_at

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger
from embsweep.search.points import Points
from embsweep.search.record import REDRAWN

PAIRS = (Choice("a", ("x", "y", "z")), IntRange("n", 1, 3))
SQUARE = (FloatRange("u", 0.0, 1.0), FloatRange("v", 0.0, 1.0))


def open_ledger(memory, space, identify, *, sampler="random", trials=20, recipe=None, stopping="none"):
    search = SearchConfig(sampler=sampler, trials=trials, seed=3, startup_trials=2, recipe_first=recipe is not None)
    limits = {"stopping": StoppingConfig(kind=stopping, reduction_factor=3), "evaluations": (0.25, 0.5, 1.0)}
    return open_search_ledger(
        memory.open(), space=space, search=search, finalists=1, recipe=recipe, identify=identify, **limits
    )


def unless(is_impossible):
    """Return a function that identifies points by their values, except impossible ones."""
    return lambda point: None if is_impossible(point) else repr(sorted(point.items()))


def run_all(open_again):
    """Run a search with a new process for every trial; return its ledger."""
    for _ in range(200):
        ledger = open_again()
        if (record := ledger.ask()) is None:
            return ledger
        value = record.best or sum(v for v in record.params.values() if not isinstance(v, str))
        for fraction in (f for f in (0.25, 0.5, 1.0) if f > record.fraction):
            if ledger.report(record.number, report_at(fraction, value)) and fraction < 1:
                ledger.stop(record.number)
                break
        else:
            ledger.complete(record.number, value)
    raise AssertionError("the search does not end")


def points_of(ledger):
    return [tuple(record.params.values()) for record in ledger.trials]


@pytest.mark.parametrize("stopping", ["none", "promotion"])
@pytest.mark.parametrize("sampler", ["random", "tpe", "grid", pytest.param("qmc", marks=pytest.mark.slow)])
def test_a_finite_space_is_tried_once_and_then_exhausted(sampler, stopping):
    """Of nine cells two are impossible, and the three of y are one configuration."""

    def identify(point):
        return None if point["a"] == "x" and point["n"] > 1 else "y" if point["a"] == "y" else repr(point)

    memory = Memory()
    ledger = run_all(lambda: open_ledger(memory, PAIRS, identify, sampler=sampler, stopping=stopping))
    assert ledger.budget == len(ledger.trials) == 5
    assert sorted((a, n) for a, n in points_of(ledger) if a != "y") == [("x", 1), ("z", 1), ("z", 2), ("z", 3)]
    assert {record.state for record in ledger.trials} <= {"complete", "paused"}
    ledger.close()
    assert open_ledger(memory, PAIRS, identify, sampler=sampler, stopping=stopping).is_exhausted


@pytest.mark.parametrize("sampler", ["random", "tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_impossible_points_of_a_continuous_space_are_drawn_again_also_after_every_crash(sampler):
    """A search with a new process for each trial equals one in a single process."""
    identify = unless(lambda point: point["u"] + point["v"] > 0.7)
    memory, alone = Memory(), Memory()
    interrupted = run_all(lambda: open_ledger(memory, SQUARE, identify, sampler=sampler, trials=12))
    ledger = open_ledger(alone, SQUARE, identify, sampler=sampler, trials=12)
    run_all(lambda: ledger)
    assert points_of(interrupted) == points_of(ledger)
    assert len(ledger.trials) == 12
    assert all(u + v <= 0.7 for u, v in points_of(ledger))
    assert sum(r.attributes.get(REDRAWN, {}).get("impossible", 0) for r in ledger.trials) > 0


def test_a_check_that_finds_nothing_changes_no_draw():
    looked, plain = Memory(), Memory()
    checked = run_all(lambda: open_ledger(looked, SQUARE, unless(lambda _: False), sampler="tpe", trials=10))
    unchecked = run_all(lambda: open_ledger(plain, SQUARE, None, sampler="tpe", trials=10))
    assert points_of(checked) == points_of(unchecked)
    assert not any(REDRAWN in record.attributes for record in checked.trials)


def test_a_space_in_which_nothing_new_is_possible_ends_the_search():
    memory = Memory()
    identify = unless(lambda point: point["u"] != 0.5)
    recipe = {"u": 0.5, "v": 0.5}
    ledger = run_all(lambda: open_ledger(memory, SQUARE, identify, recipe=recipe))
    assert points_of(ledger) == [(0.5, 0.5)]
    assert ledger.budget == 1
    assert ledger.has_run_out
    assert ledger.is_exhausted
    assert open_ledger(memory, SQUARE, identify, recipe=recipe, trials=40).ask() is None, "extended"


def test_the_recipe_is_one_cell_of_a_grid():
    memory = Memory()
    recipe = {"a": "z", "n": 2}
    ledger = run_all(lambda: open_ledger(memory, PAIRS, unless(lambda _: False), sampler="grid", recipe=recipe))
    assert points_of(ledger)[0] == ("z", 2)
    assert len(set(points_of(ledger))) == len(ledger.trials) == 9


def test_an_extension_continues_with_the_remaining_configurations():
    memory, identify = Memory(), unless(lambda point: point["a"] == "x")
    run_all(lambda: open_ledger(memory, PAIRS, identify, trials=2))
    ledger = run_all(lambda: open_ledger(memory, PAIRS, identify, trials=50))
    assert len(set(points_of(ledger))) == len(ledger.trials) == 6


def test_a_continuous_space_cannot_be_listed():
    assert Points(SQUARE).cells == math.inf
    assert not Points(SQUARE, is_grid=True).can_be_listed
    assert Points(PAIRS).cells == 9
    assert not Points((IntRange("n", 1, 5000),)).can_be_listed
    assert Points((IntRange("n", 1, 5000),), is_grid=True).can_be_listed
