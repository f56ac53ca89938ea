"""Comparisons, intervals and tests on queries: against scipy, in degenerate cases, and as properties."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.statistics.intervals import detectable_effect_factor, small_sample_alpha
from embsweep.selection.statistics.resampling import index_groups, resample_means, sign_flip_means
from embsweep.selection.statistics.significance import (
    adjust_holm,
    compare_models,
    compute_intervals,
    find_smallest_dim,
)

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
PROFILES = [
    MEAN,
    ObjectiveConfig(metric="map@100", aggregate="worst"),
    ObjectiveConfig(metric="map@100", aggregate="mean", dim_weights={256: 3.0, 64: 1.0}),
    ObjectiveConfig(metric="map@100", aggregate="mean", floors={256: 0.2}, min_retention=0.5),
]
QUICK = {"seed": 3, "resamples": 499}


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's, not what the collector finds of earlier tests
        yield


def model(rng, n, shift=0.0):
    base = np.clip(rng.random(n) + shift, 0, 1)
    return {256: base, 64: np.clip(base - 0.1 * rng.random(n), 0, 1)}


@pytest.fixture
def pair():
    rng = np.random.default_rng(5)
    return model(rng, 60, 0.1), model(rng, 60), np.repeat(np.arange(20), 3)


def test_bootstrap_agrees_with_scipy(pair):
    ours, reference, labels = pair
    differences, grouping = ours[256] - reference[256], index_groups(labels)
    sums = np.bincount(labels, differences)
    scipy_result = stats.bootstrap(
        (sums, grouping.sizes),
        lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        confidence_level=1 - small_sample_alpha(0.05, 20),
        rng=1,
    ).confidence_interval
    found = next(c for c in compare_models(ours, {"reference": reference}, labels, config=MEAN, seed=2) if c.dim == 256)
    student = stats.t.interval(0.95, 19, differences.mean(), found.detectable / detectable_effect_factor(19))
    wider = min(scipy_result.low, student[0]), max(scipy_result.high, student[1])
    assert (found.low, found.high) == pytest.approx(wider, abs=0.005)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)


@pytest.mark.parametrize("count", [9, 30])
def test_randomisation_agrees_with_scipy(count):
    rng = np.random.default_rng(count)
    ours, reference, labels = (
        {64: rng.random(count * 2) * 0.9 + 0.1},
        {64: rng.random(count * 2)},
        np.arange(count * 2) // 2,
    )
    sums = np.bincount(labels, ours[64] - reference[64])
    scipy_result = stats.permutation_test(
        (sums, np.zeros(count)), lambda a, b, axis: (a - b).sum(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=1,
    )  # fmt: skip
    found = compare_models(ours, {"reference": reference}, labels, config=MEAN, seed=2)[0]
    assert found.p_value == pytest.approx(scipy_result.pvalue, abs=1e-12 if count == 9 else 0.012)


def test_few_groups_are_tested_exactly():
    flipped = sign_flip_means(np.ones((9, 1)), index_groups(range(9)), seed=1)
    assert len(flipped) == 2**9
    assert sorted(set(np.round(flipped[:, 0], 9))) == pytest.approx(np.linspace(-1, 1, 10))
    found = compare_models({64: np.ones(9)}, {"reference": {64: np.zeros(9)}}, range(9), config=MEAN, seed=1)
    assert found[0].p_value == 2 / 2**9


def test_nine_queries_get_an_interval_as_wide_as_students():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.05, 0.1, 9)
    found = compare_models({64: differences}, {"r": {64: np.zeros(9)}}, range(9), config=MEAN, seed=1)[0]
    low, high = stats.t.interval(0.95, 8, differences.mean(), differences.std(ddof=1) / 3)
    assert found.low <= low + 0.003 and found.high >= high - 0.003
    assert found.high - found.low < 1.2 * (high - low)


@pytest.mark.parametrize("config", PROFILES)
def test_identical_models_differ_by_nothing(pair, config):
    ours, _, labels = pair
    for c in compare_models(ours, {"same": {**ours}}, labels, config=config, **QUICK):
        assert (c.difference, c.low, c.high, c.p_value, c.adjusted_p, c.detectable) == (0, 0, 0, 1, 1, 0)


@pytest.mark.parametrize("config", PROFILES)
@pytest.mark.parametrize("count", [1, 8])
def test_one_group_gives_no_information(config, count):
    rng = np.random.default_rng(0)
    ours, reference = model(rng, count, 0.4), model(rng, count)
    for c in compare_models(ours, {"r": reference}, [7] * count, config=config, **QUICK):
        assert (c.low, c.high, c.p_value, c.detectable, c.groups, c.queries) == (-1, 1, 1, 1, 1, count)
    assert {(i.low, i.high) for i in compute_intervals(ours, [7] * count, **QUICK).values()} == {(0, 1)}
    assert find_smallest_dim(ours, [7] * count, alpha=0.05, **QUICK) == 64


def test_a_constant_difference_has_an_interval_of_no_width():
    ours, reference = {64: np.full(20, 0.4)}, {64: np.full(20, 0.3)}
    found = compare_models(ours, {"r": reference}, range(20), config=MEAN, **QUICK)[0]
    assert (found.low, found.high) == pytest.approx((0.1, 0.1)) and found.detectable == pytest.approx(0, abs=1e-9)
    assert found.p_value == 1 / 500


@pytest.mark.slow
@given(st.integers(2, 12), st.integers(0, 10**6), st.sampled_from(PROFILES))
@settings(max_examples=40, deadline=None)
def test_is_finite_ordered_and_antisymmetric(groups, seed, config):
    rng = np.random.default_rng(seed)
    n = groups * 2
    ours, reference = (
        {dim: rng.integers(0, 3, n) / 2 for dim in (256, 64)} if seed % 2 else model(rng, n) for _ in range(2)
    )
    labels = np.concatenate([np.arange(groups), rng.integers(0, groups, groups)])
    forward = compare_models(ours, {"r": reference}, labels, config=config, **QUICK)
    backward = compare_models(reference, {"r": ours}, labels, config=config, **QUICK)
    for c, d in zip(forward, backward, strict=True):
        assert c.low <= c.difference <= c.high
        assert c.dim is None or (c.low >= -1 and c.high <= 1)  # shortfalls have a larger range than scores
        assert 0 < c.p_value <= c.adjusted_p <= 1
        assert c.difference == pytest.approx(-d.difference, abs=1e-12)
        assert (c.low, c.high) == pytest.approx((-d.high, -d.low), abs=1e-9)
        assert c.p_value == d.p_value
    with_relabelled = compare_models(ours, {"r": reference}, labels * 5 + 100, config=config, **QUICK)
    assert with_relabelled == forward


def test_a_nonlinear_objective_is_that_of_the_means(pair):
    ours, reference, labels = pair
    config = PROFILES[1]
    found = compare_models(ours, {"r": reference}, labels, config=config, **QUICK)[-1]
    worst = [min(values.mean() for values in one.values()) for one in (ours, reference)]
    assert found.dim is None and found.difference == pytest.approx(worst[0] - worst[1], abs=1e-9)


def test_linear_objective_is_its_weighted_column(pair):
    ours, reference, labels = pair
    found = compare_models(ours, {"r": reference}, labels, config=PROFILES[2], **QUICK)
    column = {1: (3 * ours[256] + ours[64]) / 4}, {1: (3 * reference[256] + reference[64]) / 4}
    alone = compare_models(column[0], {"r": column[1]}, labels, config=MEAN, **QUICK)[0]
    for name in ("difference", "low", "high", "p_value", "detectable"):
        assert getattr(found[-1], name) == pytest.approx(getattr(alone, name), abs=1e-9)


def test_every_reference_is_compared_at_every_common_dimension_with_holm_over_all(pair):
    ours, reference, labels = pair
    references = {"a": reference, "b": {64: reference[64], 32: reference[64]}, "c": {8: reference[64]}}
    found = compare_models(ours, references, labels, config=PROFILES[2], **QUICK)
    assert [(c.reference, c.dim) for c in found] == [("a", 256), ("a", 64), ("a", None), ("b", 64)]
    assert [c.adjusted_p for c in found] == list(adjust_holm([c.p_value for c in found]))


def test_the_same_seed_gives_the_same_result_and_another_seed_another(pair):
    ours, reference, labels = pair
    first, again = (compare_models(ours, {"r": reference}, labels, config=MEAN, **QUICK) for _ in range(2))
    other = compare_models(ours, {"r": reference}, labels, config=MEAN, seed=4, resamples=499)
    assert first == again
    assert first[0].low != other[0].low


def test_queries_of_a_group_are_not_treated_as_independent(pair):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(20), 5)
    ours = {64: np.clip(0.5 + rng.normal(0, 0.2, 20)[labels], 0, 1)}
    reference = {64: np.full(100, 0.45)}
    grouped, ungrouped = (
        compare_models(ours, {"r": reference}, groups, config=MEAN, **QUICK)[0] for groups in (labels, np.arange(100))
    )
    assert grouped.high - grouped.low > 1.8 * (ungrouped.high - ungrouped.low)
    assert grouped.detectable > 1.8 * ungrouped.detectable
    assert grouped.p_value > ungrouped.p_value


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], ()),
        ([0.03], (0.03,)),
        ([0.01, 0.04, 0.03], (0.03, 0.06, 0.06)),
        ([0.9, 0.001, 0.9], (1.0, 0.003, 1.0)),
        ([0.02, 0.02], (0.04, 0.04)),
    ],
)
def test_holm(p_values, expected):
    assert adjust_holm(p_values) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = adjust_holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in by_p] == sorted(a for _, a in by_p)


def test_detectable_is_that_of_the_t_test_and_shrinks_with_the_root_of_queries():
    rng = np.random.default_rng(2)
    reference = {64: rng.uniform(0.2, 0.5, 50)}
    ours = {64: reference[64] + rng.normal(0.1, 0.05, 50)}
    error = (ours[64] - reference[64]).std(ddof=1) / np.sqrt(50)

    def detectable(times, groups):
        tiled = [{64: np.tile(values[64], times)} for values in (ours, reference)]
        found = compare_models(tiled[0], {"r": tiled[1]}, groups, config=MEAN, seed=3)
        return found[0].detectable

    expected = (stats.t.ppf(0.975, 49) + stats.t.ppf(0.8, 49)) * error
    assert detectable(1, range(50)) == pytest.approx(expected, rel=0.03)
    assert detectable(4, range(200)) == pytest.approx(expected / 2, rel=0.06)
    assert detectable(1, np.zeros(50, dtype=int)) == 1


def test_smallest_dimension_that_is_not_significantly_worse():
    rng = np.random.default_rng(0)
    base = np.clip(rng.normal(0.6, 0.2, 200), 0, 1)
    values = {1024: base, 512: base + rng.normal(0, 0.02, 200), 256: base + 0.001, 64: base - 0.05 * rng.random(200)}
    assert find_smallest_dim(values, range(200), alpha=0.05, **QUICK) == 256
    assert find_smallest_dim({64: base}, range(200), alpha=0.05, **QUICK) == 64
    assert find_smallest_dim({dim: values[dim][:4] for dim in values}, range(4), alpha=0.05, **QUICK) == 64


@pytest.mark.parametrize("reference", [{64: np.zeros(5)}, {64: np.array([0.1, np.nan, 0.3, 0.4])}])
def test_values_that_do_not_fit_are_refused(reference):
    with pytest.raises(ValueError, match=r"queries|finite"):
        compare_models({64: np.zeros(4)}, {"r": reference}, range(4), config=MEAN, **QUICK)


def test_no_query_is_refused():
    with pytest.raises(ValueError, match="query"):
        compute_intervals({64: np.zeros(0)}, [], **QUICK)


def test_intervals_of_means_hold_the_mean(pair):
    ours, _, labels = pair
    for dim, found in compute_intervals(ours, labels, **QUICK).items():
        assert found.mean == pytest.approx(ours[dim].mean())
        assert 0 <= found.low < found.mean < found.high <= 1


def test_draws_do_not_depend_on_the_number_of_columns():
    values, grouping = np.random.default_rng(0).random((40, 3)), index_groups(np.arange(40) // 2)
    together = resample_means(values, grouping, seed=1, resamples=99)
    assert resample_means(values[:, 1:2], grouping, seed=1, resamples=99)[:, 0] == pytest.approx(together[:, 1])
