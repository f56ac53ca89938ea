"""Coverage of the 95 % intervals, simulated with a known true value.

Each column is a separate data set; all columns of a simulation share the resamples, like dimensions.
"""

import numpy as np
import pytest

from embsweep.selection.statistics.intervals import confidence_bounds
from embsweep.selection.statistics.resampling import index_groups, resample_means

REPETITIONS = 2_500
RESAMPLES = 1_999


def measure_coverage(differences, labels, true_mean):
    grouping = index_groups(labels)
    resampled = resample_means(differences, grouping, seed=1, resamples=RESAMPLES)
    low, high = confidence_bounds(differences.mean(axis=0), resampled, grouping, (-1.0, 1.0))
    return float(((low <= true_mean) & (true_mean <= high)).mean())


def draw_average_precision(queries, seed):
    """Draw differences of two models' AP (6 of 10 queries unchanged, the others 1/rank minus 1/rank) and their mean."""
    rng = np.random.default_rng(seed)
    ours, reference = 1 / np.arange(1, 8), 1 / np.arange(1, 15)
    shape = (queries, REPETITIONS)
    changed = rng.random(shape) < 0.4
    return np.where(changed, rng.choice(ours, shape) - rng.choice(reference, shape), 0.0), 0.4 * (
        ours.mean() - reference.mean()
    )


@pytest.mark.slow
@pytest.mark.parametrize("queries", [60, 200])
def test_skewed_differences_with_many_zeros(queries):
    differences, true_mean = draw_average_precision(queries, seed=queries)
    assert measure_coverage(differences, np.arange(queries), true_mean) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("queries", [2, 3, 5, 7, 9, 12])
def test_few_queries(queries):
    differences = np.random.default_rng(queries).normal(0.03, 0.05, (queries, REPETITIONS))
    assert measure_coverage(differences, np.arange(queries), 0.03) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
def test_plain_percentiles_of_nine_queries_undercover():
    differences = np.random.default_rng(9).normal(0.03, 0.05, (9, REPETITIONS))
    resampled = resample_means(differences, index_groups(range(9)), seed=1, resamples=RESAMPLES)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    assert ((low <= 0.03) & (high >= 0.03)).mean() < 0.92


def draw_clustered(groups, per_group, seed):
    """Draw differences with half of the variance between passages and half between queries."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), per_group)
    shared = rng.normal(0, 0.1, (groups, REPETITIONS))[labels]
    return 0.05 + shared + rng.normal(0, 0.1, (len(labels), REPETITIONS)), labels


@pytest.mark.slow
@pytest.mark.parametrize("groups", [12, 40])
def test_several_queries_of_a_passage(groups):
    differences, labels = draw_clustered(groups, 5, seed=groups)
    assert measure_coverage(differences, labels, 0.05) == pytest.approx(0.95, abs=0.02)


@pytest.mark.slow
def test_ungrouped_resampling_of_clustered_queries_undercovers():
    differences, labels = draw_clustered(40, 5, seed=40)
    assert measure_coverage(differences, np.arange(len(labels)), 0.05) < 0.85


@pytest.mark.slow
def test_groups_of_unequal_size():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    differences = 0.05 + rng.normal(0, 0.1, (40, REPETITIONS))[labels] + rng.normal(0, 0.1, (len(labels), REPETITIONS))
    assert measure_coverage(differences, labels, 0.05) == pytest.approx(0.95, abs=0.02)
