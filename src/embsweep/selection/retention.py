"""Retention: the share of the largest dimension's score that a smaller dimension keeps, on the same queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embsweep.selection.evidence import Interval
from embsweep.selection.scores import PerQuery
from embsweep.selection.statistics.intervals import confidence_bounds
from embsweep.selection.statistics.resampling import RESAMPLES, index_groups, resample_means
from embsweep.selection.statistics.significance import stack_values

_MOST = 10.0
"""Upper limit of a ratio: a score may be higher at a smaller dimension, and the largest one's near 0."""


def compute_retention(
    values: PerQuery, groups: Sequence[int] | NDArray[np.integer], *, seed: int, resamples: int = RESAMPLES
) -> dict[int, Interval]:
    """Compute score divided by the largest dimension's at every dimension, with its 95 % interval.

    Both scores are of the same bootstrap samples of passage groups, so that what they have in common cancels out.

    Args:
        values: Values at each dimension, float64 [n_queries], in [0, 1].
        groups: Label of each query's passage group.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap samples.

    Returns:
        Dimension → ratio; 1 at the largest. Empty if the largest dimension's score is 0.
    """
    grouping, dims = index_groups(groups), sorted(values, reverse=True)
    stacked = stack_values(values, dims, grouping)
    means = stacked.mean(axis=0)
    if not means[0] > 0:
        return {}
    resampled = resample_means(stacked, grouping, seed=seed, resamples=resamples)
    ratios = np.clip(resampled / np.maximum(resampled[:, :1], np.finfo(np.float64).tiny), 0.0, _MOST)
    observed = means / means[0]
    low, high = confidence_bounds(observed, ratios, grouping, (0.0, _MOST))
    found = {
        dim: Interval(mean=mean, low=below, high=above)
        for dim, mean, below, above in zip(dims, observed.tolist(), low.tolist(), high.tolist(), strict=True)
    }
    return {**found, dims[0]: Interval(mean=1.0, low=1.0, high=1.0)}
