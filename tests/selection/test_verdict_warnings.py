"""The warnings of a verdict, one by one."""

from types import SimpleNamespace

import pytest

from embsweep.selection.verdict import warn_seeds, warn_undetectable


def compared(detectable, dim=None):
    return SimpleNamespace(dim=dim, detectable=detectable)


def count(warnings):
    return len(list(warnings))


@pytest.mark.parametrize(("detectable", "warns"), [((0.1, 0.3), 1), ((0.3, 0.1), 1), ((0.1, 0.15), 0), ((), 0)])
def test_the_spread_of_the_search_is_compared_with_the_largest_detectable_difference(detectable, warns):
    paired = SimpleNamespace(searched=(0.4, 0.6))
    comparisons = [compared(0.9, dim=64), *map(compared, detectable)]
    assert count(warn_undetectable(paired, comparisons, [])) == warns


@pytest.mark.parametrize(
    ("searched", "of_finalists", "warns"),
    [((0.1, 0.9), (0.5, 0.51), 0), ((0.5, 0.51), (0.1, 0.9), 1), ((), (0.5, None, 0.51), 1), ((), (0.1, None, 0.9), 0)],
)
def test_the_spread_is_of_all_trials_or_of_finalists_if_those_are_unknown(searched, of_finalists, warns):
    paired = SimpleNamespace(searched=searched)
    candidates = [SimpleNamespace(searched=value) for value in of_finalists]
    assert count(warn_undetectable(paired, [compared(0.2)], candidates)) == warns


@pytest.mark.parametrize(("searched", "warns"), [((0.5,), 0), ((), 0)])
def test_one_trial_has_no_spread(searched, warns):
    assert count(warn_undetectable(SimpleNamespace(searched=searched), [compared(0.2)], [])) == warns


@pytest.mark.parametrize(
    ("df", "deviations", "confirmed", "warns"),
    [
        (0, {64: 0.0, None: 0.0}, 2, 1),
        (1, {64: 0.0, None: 0.0}, 2, 1),
        (1, {64: 0.0, None: 0.1}, 2, 0),
        (1, {64: 0.1, None: 0.0}, 2, 0),
        (1, {64: 0.0, None: 0.0}, 1, 0),
    ],
)
def test_warns_if_seed_variance_cannot_be_estimated(df, deviations, confirmed, warns):
    paired = SimpleNamespace(noise=SimpleNamespace(df=df, deviations=deviations))
    assert count(warn_seeds(paired, [None] * confirmed)) == warns
