"""Paired inference over queries.

Whole passage groups are resampled, because several questions about one passage are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.evidence import Comparison, Interval
from embsweep.selection.scores import PerQuery
from embsweep.selection.statistics.intervals import adjust_holm, confidence_bounds, randomisation_p
from embsweep.selection.statistics.paired import (
    adjust_comparisons,
    bound_difference,
    compute_difference,
    stack_values,
    to_comparisons,
)
from embsweep.selection.statistics.resampling import RESAMPLES, index_groups, resample_means, sign_flip_means

Groups = Sequence[int] | NDArray[np.integer]
"""Label of each query's passage group, [n_queries]."""

_NO_MARGINS: Mapping[str, float] = MappingProxyType({})


def compute_intervals(
    values: PerQuery, groups: Groups, *, seed: int, resamples: int = RESAMPLES
) -> dict[int, Interval]:
    """Compute the mean over the queries at every dimension with its 95 % interval.

    Args:
        values: Values at each dimension, float64 [n_queries], in [0, 1].
        groups: Label of each query's passage group.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap samples.

    Returns:
        Dimension → interval; it is [0, 1] if there is only one group.
    """
    grouping, dims = index_groups(groups), list(values)
    stacked = stack_values(values, dims, grouping)
    resampled = resample_means(stacked, grouping, seed=seed, resamples=resamples)
    means = stacked.mean(axis=0)
    bounds = confidence_bounds(means, resampled, grouping, (0.0, 1.0))
    found = zip(dims, means.tolist(), *bounds.tolist(), strict=True)
    return {dim: Interval(mean=mean, low=low, high=high) for dim, mean, low, high in found}


def compare_models(  # noqa: PLR0913 - all but three are keyword-only
    ours: PerQuery,
    references: Mapping[str, PerQuery],
    groups: Groups,
    *,
    config: ObjectiveConfig,
    seed: int,
    resamples: int = RESAMPLES,
    margins: Mapping[str, float] = _NO_MARGINS,
) -> tuple[Comparison, ...]:
    """Compare our model with each reference at every dimension that both have, and on the objective.

    Args:
        ours: Values of our model at each dimension, float64 [n_queries].
        references: Name → values of a reference on the same queries, in the same order.
        groups: Label of each query's passage group.
        config: Objective, with resolved floors.
        seed: Seed of the bootstrap and of the sign flips.
        resamples: Number of bootstrap samples, and of random sign patterns.
        margins: Reference → difference under the null hypothesis of its tests; 0 for a reference that is not named.

    Returns:
        Differences (ours minus the reference's) for each reference, the dimensions from large to small, then the
        objective (`dim` None) over the common dimensions. The objective is left out for a reference that lacks a
        dimension it needs. The p-values are adjusted over all comparisons returned.

    Raises:
        ValueError: If the number of queries differs, a value is not finite, or a floor is still `base`.
    """
    grouping = index_groups(groups)
    found = {
        name: compute_difference(
            ours, reference, grouping, config=config, seed=seed, resamples=resamples, margin=margins.get(name, 0.0)
        )
        for name, reference in references.items()
    }
    return adjust_comparisons(
        [
            comparison
            for name, difference in found.items()
            for comparison in to_comparisons(name, difference, bound_difference(difference, grouping), grouping)
        ]
    )


def find_smallest_dim(values: PerQuery, groups: Groups, *, alpha: float, seed: int, resamples: int = RESAMPLES) -> int:
    """Return the smallest dimension that is not significantly below the largest, Holm-adjusted over all smaller ones.

    Few queries cannot show a small loss, so read the result together with the interval.

    Args:
        values: Values at each dimension, float64 [n_queries].
        groups: Label of each query's passage group.
        alpha: Level of the tests after Holm's correction.
        seed: Seed of the sign flips.
        resamples: Number of random sign patterns.
    """
    grouping, dims = index_groups(groups), sorted(values, reverse=True)
    stacked = stack_values(values, dims, grouping)
    flipped = sign_flip_means(stacked[:, 1:] - stacked[:, :1], grouping, seed=seed, resamples=resamples)
    adjusted = adjust_holm(randomisation_p(flipped).tolist())
    tested = zip(dims[1:], flipped[0].tolist(), adjusted, strict=True)
    return min([dims[0], *(dim for dim, loss, p in tested if not (loss < 0 and p < alpha))])
