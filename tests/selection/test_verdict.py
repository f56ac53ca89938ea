"""Selection of the winner among configurations that were run again."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsweep.config.training import ObjectiveConfig
from embsweep.selection import verdict as verdicts
from embsweep.selection.candidate import Candidate, PairedComparison
from embsweep.selection.statistics.intervals import adjust_holm
from embsweep.selection.statistics.resampling import index_groups
from embsweep.selection.statistics.seed_variance import SeedVariance
from embsweep.selection.verdict import select_winner
from tests.texts import numbers_in

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
QUERIES = 40
HOW = {"objective": MEAN, "alpha": 0.05, "seed": 1, "resamples": 499}
rng = np.random.default_rng(0)
UNDETECTABLE = [80, 100]
"""First numbers of the warning that the smallest difference detectable in 80 of 100 repetitions exceeds the spread."""
DIFFICULTY = np.clip(rng.normal(0.5, 0.2, QUERIES), 0.1, 0.9)


def make(trial, means, *, cost=(384, 256, 3.0), failures=0, searched=0.5, is_recipe=False):
    """Return a candidate with one run per mean: the queries' difficulty plus a little noise, shifted to that mean."""
    noise = np.random.default_rng(trial + 100).normal(0, 0.02, (len(means), QUERIES))
    values = [DIFFICULTY + own - (DIFFICULTY + own).mean() + mean for own, mean in zip(noise, means, strict=True)]
    runs = tuple({128: value, 64: value - 0.02} for value in values)
    return Candidate(trial, {"train.epochs": cost[-1]}, is_recipe, cost, searched, runs, failures)


def decide(*candidates, groups=range(QUERIES), **how):
    return select_winner(candidates, groups, **{**HOW, **how})


def test_a_clearly_better_candidate_is_named():
    found = decide(make(0, [0.40, 0.41], is_recipe=True), make(5, [0.60, 0.61], cost=(768, 512, 9.0)))
    assert (found.outcome, found.winner, found.tied_with) == ("named", 5, ())
    assert found.rule.startswith(verdicts._BETTER)
    assert numbers_in(found.rule) == [0.05]
    assert {(c.reference, c.dim) for c in found.comparisons} == {("recipe", dim) for dim in (128, 64, None)}
    on_objective = next(c for c in found.comparisons if c.dim is None)
    assert on_objective.difference == pytest.approx(0.2) and on_objective.adjusted_p < 0.05
    assert 0.1 < on_objective.low < 0.2 < on_objective.high < 0.3
    assert [facts.confirmed for facts in found.confirmed] == [pytest.approx((0.39, 0.40)), pytest.approx((0.59, 0.60))]
    assert (found.confirmed[0].trial, found.confirmed[0].is_recipe, found.confirmed[0].searched) == (0, True, 0.5)


def test_the_cheapest_of_tied_candidates_wins():
    expensive, cheap = make(3, [0.50, 0.52], cost=(384, 256, 3.0)), make(8, [0.49, 0.51], cost=(384, 128, 9.0))
    worse = make(1, [0.20, 0.21], cost=(64, 32, 1.0))
    found = decide(expensive, cheap, worse)
    assert (found.outcome, found.winner, found.tied_with) == ("tied", 8, (3, 8))
    assert found.rule == verdicts._CHEAPEST
    against = {c.reference: c.difference for c in found.comparisons if c.dim is None}
    assert against == {"trial 3": pytest.approx(-0.01), "trial 1": pytest.approx(0.295)}


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        ({"cost": (384, 512, 9.0)}, {"cost": (768, 128, 1.0)}, 4),  # first the dimension of the model
        ({"cost": (384, 512, 1.0)}, {"cost": (384, 256, 9.0)}, 6),  # then the sequence length
        ({"cost": (384, 256, 2.0)}, {"cost": (384, 256, 1.0)}, 6),  # then epochs
        ({}, {"is_recipe": True}, 6),  # then the recipe
        ({}, {}, 4),  # then the lower trial
    ],
)
def test_tied_candidates_are_ordered_by_cost(one, other, winner):
    assert decide(make(4, [0.5, 0.52], **one), make(6, [0.5, 0.52], **other)).winner == winner


def test_a_difference_is_not_significant_if_seeds_differ_as_much():
    steady = decide(make(0, [0.50, 0.505]), make(1, [0.60, 0.605]))
    varying = decide(make(0, [0.42, 0.58]), make(1, [0.52, 0.68]))
    assert (steady.outcome, varying.outcome) == ("named", "tied")
    widths = [next(c.high - c.low for c in found.comparisons if c.dim is None) for found in (steady, varying)]
    assert widths[1] > 3 * widths[0]


def test_a_difference_without_seed_variance_is_not_significant_if_queries_disagree():
    values = DIFFICULTY + np.where(np.arange(QUERIES) % 2, 0.09, -0.08)
    runs = ({128: values, 64: values},) * 2
    found = decide(
        Candidate(0, {}, True, (1,), 0.5, ({128: DIFFICULTY, 64: DIFFICULTY},) * 2, 0),
        Candidate(1, {}, False, (2,), 0.5, runs, 0),
    )
    assert (found.outcome, found.winner) == ("tied", 0)
    assert [numbers_in(warning)[:2] for warning in found.warnings] == [[], UNDETECTABLE], (
        "the first: seeds give no information"
    )


def test_a_difference_significant_alone_is_not_so_among_many():
    """Holm: four equal references, each of which the leader beats at 5 % if it is the only one."""
    leader, reference = make(9, [0.508, 0.509]), make(1, [0.5, 0.501])
    references = [dataclasses.replace(reference, trial=trial) for trial in (1, 2, 3, 4)]
    alone, among = decide(leader, reference), decide(leader, *references)
    assert (alone.outcome, alone.winner) == ("named", 9)
    (p,) = (c.p_value for c in alone.comparisons if c.dim is None)
    assert 0.0125 < p < 0.05, "significant alone, and no longer if multiplied by four"
    assert (among.outcome, among.tied_with) == ("tied", (1, 2, 3, 4, 9))


def test_exactly_equal_runs_are_tied():
    one = make(2, [0.5, 0.55])
    found = decide(one, Candidate(7, {}, False, one.cost, 0.5, one.runs, 0))
    assert (found.outcome, found.winner, found.tied_with) == ("tied", 2, (2, 7))
    assert {(c.difference, c.adjusted_p) for c in found.comparisons} == {(0.0, 1.0)}


def test_a_failed_candidate_with_a_better_mean_cannot_win_and_is_reported():
    found = decide(make(0, [0.5, 0.51]), make(1, [0.4, 0.41]), make(2, [0.9], failures=1), make(3, [], failures=2))
    assert found.winner == 0
    assert 2 not in found.tied_with
    assert [numbers_in(warning)[:3] for warning in found.warnings[:3]] == [
        [2, 1, 2],  # one of its runs failed
        [3, 2, 2],
        [2, 0.89, 0.495],  # its mean is above the winner's
    ]
    assert [facts.failures for facts in found.confirmed] == [0, 0, 1, 2]


def test_comparisons_of_a_named_winner_are_those_that_decided():
    failed = [make(trial, [0.59], failures=1) for trial in range(2, 6)]
    found = decide(make(0, [0.40, 0.42]), make(1, [0.60, 0.61]), *failed)
    assert found.outcome == "named"
    assert {c.reference for c in found.comparisons} == {"trial 0"}
    assert all(c.adjusted_p < 0.05 for c in found.comparisons if c.dim is None)


def test_all_failed_is_an_error():
    with pytest.raises(ValueError, match="finalist"):
        decide(make(0, [0.5], failures=1), make(1, [], failures=2))


def test_a_single_remaining_candidate_is_named_by_that_rule():
    found = decide(make(0, [0.5, 0.52]), make(1, [0.6], failures=1))
    assert (found.outcome, found.winner) == ("named", 0)
    assert found.rule == verdicts._ALONE


@pytest.mark.parametrize(
    ("searched", "winner"), [((0.4, 0.6), 9), ((0.6, 0.6), 3), ((None, 0.1), 9), ((0.1, math.nan), 3)]
)
def test_without_runs_the_search_decides_by_its_own_rule(searched, winner):
    found = decide(make(3, [], searched=searched[0]), make(9, [], searched=searched[1])) if not (
        searched[1] is not None and math.isnan(searched[1])
    ) else decide(make(3, [], searched=searched[0]), make(9, [], searched=None))  # fmt: skip
    assert (found.outcome, found.winner, found.comparisons) == ("unconfirmed", winner, ())
    assert found.rule == verdicts._SEARCH_ALONE


def test_without_runs_and_scores_there_is_no_winner():
    with pytest.raises(ValueError, match="finite"):
        decide(make(3, [], searched=None))


def test_one_run_each_cannot_estimate_seed_variance():
    found = decide(make(0, [0.4]), make(1, [0.9]))
    assert found.outcome == "tied"
    assert [numbers_in(warning)[:2] for warning in found.warnings] == [[], UNDETECTABLE]


def test_a_candidate_that_was_not_run_again_cannot_win():
    found = decide(make(0, [0.4, 0.41]), make(1, [], searched=0.9))
    assert found.winner == 0
    assert [1] in [numbers_in(warning) for warning in found.warnings], "trial 1, and no count of failures"


def test_warns_of_undetectable_differences():
    close = [make(0, [0.50, 0.53], searched=0.510), make(1, [0.51, 0.48], searched=0.511)]
    apart = [make(0, [0.50, 0.505], searched=0.1), make(1, [0.51, 0.505], searched=0.9)]
    (warning,) = decide(*close).warnings
    detectable, spread = numbers_in(warning)[-2:]
    assert (detectable > spread, spread) == (True, 0.001)
    assert decide(*apart).warnings == ()


def test_few_passage_groups_give_no_significance():
    found = decide(make(0, [0.2, 0.2]), make(1, [0.9, 0.9]), groups=np.arange(QUERIES) % 4)
    assert found.outcome == "tied"
    assert [4, 0.125] in [numbers_in(warning) for warning in found.warnings], "number of groups and smallest possible p"
    one = decide(make(0, [0.2, 0.2]), make(1, [0.9, 0.9]), groups=[3] * QUERIES)
    assert {(c.low, c.high, c.adjusted_p) for c in one.comparisons} == {(-1.0, 1.0, 1.0)}


def test_a_cheaper_candidate_that_violates_a_constraint_does_not_win():
    profile = MEAN.model_copy(update={"floors": {128: 0.5}})
    meets, violates = make(5, [0.51, 0.52], cost=(384, 256, 9.0)), make(2, [0.49, 0.495], cost=(384, 256, 1.0))
    found = decide(meets, violates, objective=profile)
    assert found.winner == 5
    alone = decide(violates, make(3, [0.4, 0.41]), objective=profile)
    assert any("trial 2" in warning and {128, 0.5} <= {*numbers_in(warning)} for warning in alone.warnings)


@pytest.mark.slow
@given(
    st.lists(st.lists(st.floats(0.3, 0.7), min_size=2, max_size=3), min_size=2, max_size=4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_order_of_candidates_does_not_matter_and_the_winner_is_never_significantly_worse(means, random):
    candidates = [make(trial, list(own), cost=(trial % 2,)) for trial, own in enumerate(means)]
    found = decide(*candidates, resamples=199)
    random.shuffle(candidates)
    again = decide(*candidates, resamples=199)
    assert (found.outcome, found.winner, found.tied_with) == (again.outcome, again.winner, again.tied_with)
    if found.outcome == "tied":
        assert found.winner in found.tied_with and len(found.tied_with) > 1
    else:
        assert all(c.difference > 0 and c.adjusted_p < 0.05 for c in found.comparisons if c.dim is None)


def test_runs_of_a_failed_candidate_still_count_for_the_seed_variance():
    """The others have one run each: without the failed one the seed variance would be unknown."""
    found = decide(make(0, [0.40]), make(1, [0.60]), make(2, [0.30, 0.31], failures=1))
    assert (found.outcome, found.winner) == ("named", 1)


def test_the_mean_of_the_runs_counts_and_not_the_median():
    found = decide(make(0, [0.50, 0.50, 0.53]), make(1, [0.40, 0.40, 0.40]))
    assert next(c.difference for c in found.comparisons if c.dim is None) == pytest.approx(0.11)


def test_dimensions_and_objectives_are_corrected_separately():
    found = decide(make(9, [0.508, 0.509]), make(1, [0.5, 0.501]), make(2, [0.499, 0.501]), make(3, [0.497, 0.502]))
    for family in (True, False):
        members = [c for c in found.comparisons if (c.dim is None) is family]
        assert [c.adjusted_p for c in members] == list(adjust_holm([c.p_value for c in members]))
    assert any(c.adjusted_p != c.p_value for c in found.comparisons if c.dim is not None)


def test_candidates_without_a_common_dimension_are_tied():
    values = DIFFICULTY - DIFFICULTY.mean()
    one, other = (
        Candidate(trial, {}, False, (trial,), 0.5, ({dim: values + mean}, {dim: values + mean + 0.001}), 0)
        for trial, dim, mean in ((1, 128, 0.4), (2, 64, 0.6))
    )
    found = decide(one, other)
    assert (found.outcome, found.winner, found.tied_with) == ("tied", 1, (1, 2))


def test_a_failed_candidate_with_a_worse_mean_is_not_reported_as_better():
    found = decide(make(0, [0.5, 0.51]), make(1, [0.4, 0.41]), make(2, [0.45], failures=1))
    assert [numbers_in(warning)[:2] for warning in found.warnings] == [[2, 1], UNDETECTABLE]


@pytest.mark.parametrize(("groups", "warns"), [(5, True), (6, False)])
def test_warns_of_fewer_than_six_groups(groups, warns):
    """With 5 groups one sign pattern of 16 is the most extreme, with 6 one of 32: p is .0625 and .03125."""
    found = decide(make(0, [0.2, 0.2]), make(1, [0.9, 0.9]), groups=np.arange(QUERIES) % groups)
    assert any(numbers_in(warning)[:1] == [groups] for warning in found.warnings) is warns


def test_same_seed_same_verdict():
    candidates = make(0, [0.5, 0.53]), make(1, [0.52, 0.55])
    assert decide(*candidates) == decide(*candidates)


def test_seed_variance_of_a_difference_depends_on_the_runs_of_both():
    noise = SeedVariance(dict.fromkeys((128, 64, None), 0.05), 8)
    paired = PairedComparison(index_groups(range(QUERIES)), MEAN, noise, 1, 499)
    few, many = make(0, [0.5]), make(1, [0.5] * 8)
    there, back = (paired.compare(*pair)[1].detectable for pair in ((few, many), (many, few)))
    assert there == pytest.approx(back, rel=1e-6)
    few_both = paired.compare(few, make(1, [0.5]))[1].detectable
    assert (there < 0.9 * few_both).all()
