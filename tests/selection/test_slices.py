"""Base and winner per slice: intervals, too few groups, the slice that lost most."""

import numpy as np
import pytest
from pydantic import ValidationError

from embsweep.core.names import NO_SLICE, OTHER_SLICES
from embsweep.selection.evidence import BASE, WINNER
from embsweep.selection.slices import SliceResult, compare_slices, worst_slice
from tests.reports.evidence_samples import DIMS, make_evidence

QUERIES = 60


def with_values(slices, winner, base, **changes):
    """Evidence with the given scores of base and winner at the largest dimension."""
    evidence = make_evidence(queries=len(slices), slices=slices, **changes)
    found = {WINNER: winner, BASE: base}
    test = {
        name: record.model_copy(update={"values": {**record.values, DIMS[0]: tuple(found[name])}})
        if name in found
        else record
        for name, record in evidence.test.items()
    }
    return evidence.model_copy(update={"test": test})


def test_one_slice_has_the_figures_of_the_whole_test_split():
    evidence = make_evidence(slices=("en",) * QUERIES)
    (result,) = compare_slices(evidence)
    whole = next(c for c in evidence.comparisons if c.reference == BASE and c.dim == DIMS[0])
    assert (result.queries, result.groups) == (whole.queries, whole.groups)
    assert result.winner == evidence.test[WINNER].intervals[DIMS[0]]
    assert result.base == evidence.test[BASE].intervals[DIMS[0]]
    found = result.difference
    assert (found.mean, found.low, found.high) == pytest.approx((whole.difference, whole.low, whole.high))
    assert result.adjusted_p == pytest.approx(whole.p_value)
    assert worst_slice([result]) is None, "it gained"


def test_the_slice_that_lost_most_is_found_and_a_small_one_has_no_scores():
    slices = ("en",) * 30 + ("de",) * 20 + (NO_SLICE,) * 2 + (OTHER_SLICES,) * 8
    base = np.full(QUERIES, 0.5)
    winner = base + np.where(np.arange(QUERIES) < 30, 0.2, -0.1) + 0.01 * np.sin(np.arange(QUERIES))
    winner[50:52] = 0.0
    results = compare_slices(with_values(slices, winner, base, groups=tuple(range(QUERIES))))
    assert [(r.name, r.queries) for r in results] == [("en", 30), ("de", 20), (OTHER_SLICES, 8), (NO_SLICE, 2)]
    assert results[3] == SliceResult(NO_SLICE, 2, 2), "2 queries: too few, however much they lost"
    worst = worst_slice(results)
    assert worst.name == "de"
    assert worst.is_significant_loss
    assert worst.difference.mean == pytest.approx((winner - base)[30:50].mean())
    assert not results[0].is_significant_loss


@pytest.mark.slow
def test_a_loss_among_many_slices_is_no_significant_one():
    rng = np.random.default_rng(16)
    slices = tuple(f"s{number % 20}" for number in range(200))
    base = rng.uniform(0.3, 0.7, 200)
    winner = base + rng.normal(0, 0.1, 200)
    results = compare_slices(with_values(slices, winner, base, groups=tuple(range(200))))
    assert any(result.difference.high < 0 for result in results), "by chance, as one of 20 intervals"
    assert worst_slice(results).difference.mean < 0
    assert not any(result.is_significant_loss for result in results)


def test_slices_of_other_queries_are_refused():
    with pytest.raises(ValidationError, match="slices: 3 values for 60 test queries"):
        make_evidence(slices=("en",) * 3)
    assert compare_slices(make_evidence()) == ()
