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
from embsweep.selection.statistics.intervals import (
    adjust_holm,
    bessel_correction,
    confidence_bounds,
    detectable_effect_factor,
    randomisation_p,
)
from embsweep.selection.statistics.paired import Difference, compute_difference, stack_values
from embsweep.selection.statistics.resampling import (
    RESAMPLES,
    Array,
    Grouping,
    index_groups,
    resample_means,
    sign_flip_means,
)

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
    adjusted = iter(adjust_holm([float(p) for difference in found.values() for p in difference.p_values]))
    return tuple(
        comparison.model_copy(update={"adjusted_p": next(adjusted)})
        for name, difference in found.items()
        for comparison in _to_comparisons(name, difference, grouping)
    )


def compute_detectable(differences: Array, groups: Groups, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the smallest true mean difference that a test detects in a share `power` of all samples of this size.

    The sum of Student's quantiles of n_groups - 1 degrees of freedom, times the standard error of the grouped mean (the
    ratio estimator of cluster sampling: Cochran, Sampling Techniques, 1977, eq. 6.13).

    Args:
        differences: Difference of two models for each query, float64 [n_queries].
        groups: Label of each query's passage group.
        alpha: Level of the two-sided test.
        power: Share of the samples in which the test must be significant.

    Returns:
        The difference; 1 if there is only one group.
    """
    grouping = index_groups(groups)
    if grouping.count == 1:
        return 1.0
    residuals = grouping.sum(differences[:, np.newaxis])[:, 0] - differences.mean() * grouping.sizes
    error = bessel_correction(grouping.count) * float(np.sqrt(np.square(residuals).sum())) / len(differences)
    return detectable_effect_factor(grouping.count - 1, alpha=alpha, power=power) * error


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


def _to_comparisons(reference: str, difference: Difference, grouping: Grouping) -> list[Comparison]:
    """Convert a difference; `adjusted_p` is the unadjusted p-value, because the family of tests is not known here."""
    bounds = confidence_bounds(difference.observed, difference.resampled, grouping, (-1.0, 1.0))
    detectable = _detect(difference.errors, grouping)
    numbers = zip(
        difference.columns,
        difference.observed.tolist(),
        *bounds.tolist(),
        difference.p_values.tolist(),
        detectable.tolist(),
        strict=True,
    )
    return [
        Comparison(
            reference=reference,
            dim=dim,
            difference=observed,
            low=low,
            high=high,
            p_value=p,
            adjusted_p=p,
            detectable=least,
            queries=len(grouping.labels),
            groups=grouping.count,
            margin=difference.margin,
        )
        for dim, observed, low, high, p, least in numbers
    ]


def _detect(errors: Array, grouping: Grouping) -> Array:
    if grouping.count == 1:
        return np.ones_like(errors)
    return np.asarray(detectable_effect_factor(grouping.count - 1) * errors)
