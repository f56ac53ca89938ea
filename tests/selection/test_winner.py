"""The ranking of trials."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.selection.candidate import RankedTrial, rank_trials

ranked_trials = st.lists(
    st.builds(
        RankedTrial, st.integers(0, 99), st.none() | st.floats(allow_nan=True, allow_infinity=True), st.booleans()
    ),
    unique_by=lambda c: c.number,
)


@given(ranked_trials, st.randoms())
def test_order_of_arrival_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert rank_trials(found) == rank_trials(shuffled)


@pytest.mark.slow
@given(ranked_trials)
def test_only_finite_objectives_with_weights_can_win_and_the_best_is_first(found):
    ranked = rank_trials(found)
    assert all(c.has_checkpoint and math.isfinite(c.objective) for c in ranked)
    assert [c.objective for c in ranked] == sorted((c.objective for c in ranked), reverse=True)
    assert len(ranked) == sum(
        c.has_checkpoint and c.objective is not None and math.isfinite(c.objective) for c in found
    )


def test_equal_objectives_go_to_the_earlier_trial():
    tied = [RankedTrial(7, 0.5, True), RankedTrial(2, 0.5, True), RankedTrial(4, 0.5, True)]
    assert [c.number for c in rank_trials(tied)] == [2, 4, 7]
