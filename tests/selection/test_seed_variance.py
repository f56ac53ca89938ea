"""Seed variance computed by hand: its pooling, its effect on a difference, and its direction."""

import numpy as np
import pytest
from scipy import stats

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.statistics.resampling import index_groups
from embsweep.selection.statistics.seed_variance import SeedVariance, add_seed_noise, estimate_seed_variance
from embsweep.selection.statistics.significance import Difference, compute_difference

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
QUERIES = 12
GROUPING = index_groups(range(QUERIES))


def run(at_128, at_64):
    return {128: np.full(QUERIES, at_128), 64: np.full(QUERIES, at_64)}


def test_deviations_are_pooled_over_configurations_with_their_degrees_of_freedom():
    configurations = [
        [run(0.50, 0.40), run(0.54, 0.40)],
        [run(0.20, 0.10), run(0.20, 0.16), run(0.26, 0.10)],
        [run(0.90, 0.90)],
        [],
    ]
    found = estimate_seed_variance(configurations, MEAN)
    assert found.df == 3
    squares = {
        128: 2 * 0.02**2 + 2 * 0.02**2 + 0.04**2,
        64: 2 * 0.02**2 + 0.04**2,
        None: 2 * 0.01**2 + 0.02**2 + 2 * 0.01**2,
    }
    assert found.deviations == pytest.approx({column: (total / 3) ** 0.5 for column, total in squares.items()})


def test_a_difference_of_means_has_the_seed_variance_of_both():
    difference = Difference((64, None), np.zeros(2), np.zeros((1, 2)), np.ones(2), np.zeros(2))
    noise = SeedVariance({64: 0.02, None: 0.03}, 3)
    for runs in ((4, 1), (1, 4)):
        assert noise.of(difference, runs) == pytest.approx(np.array([0.02, 0.03]) * (1 / 4 + 1) ** 0.5)


def pair(shift):
    rng = np.random.default_rng(4)
    reference = rng.random(QUERIES)
    ours = reference + shift + rng.normal(0, 0.05, QUERIES)
    return compute_difference({64: ours}, {64: reference}, GROUPING, config=MEAN, seed=1, resamples=1999)


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_seed_variance_is_symmetric(shift):
    bounds = add_seed_noise(pair(shift), SeedVariance({64: 0.01, None: 0.01}, 4), GROUPING, runs=(2, 2), seed=1)
    assert (bounds.p_values < 0.05).all()
    assert (bounds.low * bounds.high > 0).all(), "the interval is on one side of 0"


def test_without_seed_variance_the_interval_has_the_small_sample_width():
    """Student's quantile instead of the normal one, and n - 1 instead of n."""
    difference = pair(0.1)
    bounds = add_seed_noise(difference, SeedVariance({64: 0.0, None: 0.0}, 4), GROUPING, runs=(2, 2), seed=1)
    factor = (QUERIES / (QUERIES - 1)) ** 0.5 * stats.t.ppf(0.975, QUERIES - 1) / stats.norm.ppf(0.975)
    low, high = np.quantile(difference.resampled, [0.025, 0.975], axis=0) - difference.observed
    assert bounds.low == pytest.approx(difference.observed + factor * low, abs=1e-9)
    assert bounds.high == pytest.approx(difference.observed + factor * high, abs=1e-9)


def test_p_is_the_larger_of_those_of_queries_and_seeds():
    difference = pair(0.1)
    zero, high = (
        add_seed_noise(difference, SeedVariance({64: deviation, None: deviation}, 4), GROUPING, runs=(2, 2), seed=1)
        for deviation in (0.0, 0.2)
    )
    assert zero.p_values == pytest.approx(np.maximum(difference.p_values, 2 / 2000))
    assert (high.p_values > 0.2).all()


def test_detectable_is_the_root_of_the_sum_of_both_squares():
    difference, by_run = pair(0.1), 0.03
    bounds = add_seed_noise(difference, SeedVariance({64: by_run, None: by_run}, 4), GROUPING, runs=(2, 3), seed=1)
    by_query = (stats.t.ppf(0.975, QUERIES - 1) + stats.t.ppf(0.8, QUERIES - 1)) * difference.errors
    by_seed = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * by_run * (1 / 2 + 1 / 3) ** 0.5
    assert bounds.detectable == pytest.approx(np.sqrt(by_query**2 + by_seed**2))


@pytest.mark.parametrize(("grouping", "df"), [(index_groups([7] * QUERIES), 4), (GROUPING, 0)])
def test_one_group_or_no_second_run_gives_no_information(grouping, df):
    bounds = add_seed_noise(pair(0.1), SeedVariance({64: 0.0, None: 0.0}, df), grouping, runs=(2, 2), seed=1)
    assert (bounds.low.tolist(), bounds.high.tolist(), bounds.p_values.tolist()) == ([-1, -1], [1, 1], [1, 1])
