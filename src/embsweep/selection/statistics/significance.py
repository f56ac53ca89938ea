"""Paired inference over queries: the differences of models on the same queries, their intervals and p-values.

Whole passage groups are resampled, because several questions about one passage are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.evidence import Comparison, Interval
from embsweep.selection.objective import compute_objectives, counted_dims
from embsweep.selection.scores import Array, PerQuery
from embsweep.selection.statistics.intervals import (
    adjust_holm,
    confidence_bounds,
    detectable_effects,
    estimate_errors,
    randomisation_p,
)
from embsweep.selection.statistics.resampling import (
    RESAMPLES,
    Grouping,
    index_groups,
    resample_means,
    round_means,
    sign_flip_means,
)

Groups = Sequence[int] | NDArray[np.integer]
"""Label of each query's passage group, [n_queries]."""


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
    margins: Mapping[str, float] = MappingProxyType({}),
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


@dataclass(frozen=True)
class Difference:
    """Our scores minus the reference's: one column per dimension, from large to small, then None for the objective.

    `observed` [n_columns]; `resampled` [n_resamples, n_columns] by bootstrap; `p_values` [n_columns] of the two-sided
    randomisation test whose null hypothesis is a difference of `margin`; `errors` [n_columns], standard errors.
    """

    columns: tuple[int | None, ...]
    observed: Array
    resampled: Array
    p_values: Array
    errors: Array
    margin: float = 0.0


@dataclass(frozen=True)
class Bounds:
    """Bounds, p-values and detectable size of a difference, [n_columns] each."""

    low: Array
    high: Array
    p_values: Array
    detectable: Array


def compute_difference(  # noqa: PLR0913 - all but three are keyword-only
    ours: PerQuery,
    reference: PerQuery,
    grouping: Grouping,
    *,
    config: ObjectiveConfig,
    seed: int,
    resamples: int = RESAMPLES,
    margin: float = 0.0,
) -> Difference:
    """Compare two models at the dimensions that both have, and on the objective if it needs no other dimension.

    The same seed gives the same draws for any two models.

    Args:
        ours: Values of our model at each dimension, float64 [n_queries].
        reference: Values of the reference on the same queries, in the same order.
        grouping: Passage groups of the queries.
        config: Objective, of whose metric the values are.
        seed: Seed of the bootstrap and of the sign flips.
        resamples: Number of bootstrap samples, and of random sign patterns.
        margin: Difference under the null hypothesis; the test subtracts it from each of our values.

    Raises:
        ValueError: If the number of queries differs or a value is not finite.
    """
    dims = sorted(set(ours) & set(reference), reverse=True)
    columns = (*dims, None) if dims and set(counted_dims(dims, config)) <= set(dims) else tuple(dims)
    one, other = stack_values(ours, dims, grouping), stack_values(reference, dims, grouping)
    both = resample_means(np.hstack([one, other]), grouping, seed=seed, resamples=resamples)
    resampled = _subtract(both[:, : len(dims)], both[:, len(dims) :], columns, config)

    def swap(ours: Array) -> Array:
        """Return the differences with the two models of some groups swapped, the observed (unswapped) ones first."""
        middle = (ours + other).mean(axis=0) / 2
        half = sign_flip_means(ours - other, grouping, seed=seed, resamples=resamples) / 2
        return _subtract(middle + half, middle - half, columns, config)

    swapped = swap(one)
    return Difference(
        columns=columns,
        observed=swapped[0],
        resampled=resampled,
        p_values=randomisation_p(swap(one - margin) if margin else swapped),
        errors=estimate_errors(resampled, grouping),
        margin=margin,
    )


def bound_difference(difference: Difference, grouping: Grouping) -> Bounds:
    """Compute the bounds of a difference from the variance of the queries alone."""
    low, high = confidence_bounds(difference.observed, difference.resampled, grouping, (-1.0, 1.0))
    return Bounds(low, high, difference.p_values, detectable_effects(difference.errors, grouping))


def to_comparisons(reference: str, difference: Difference, bounds: Bounds, grouping: Grouping) -> list[Comparison]:
    """Convert a difference to one comparison per column, with the unadjusted p-value as `adjusted_p`.

    Args:
        reference: Name of the reference.
        difference: Difference to it.
        bounds: Bounds of the difference.
        grouping: Passage groups of the queries.
    """
    columns = (difference.observed, bounds.low, bounds.high, bounds.p_values, bounds.detectable)
    return [
        Comparison(
            reference=reference,
            dim=dim,
            difference=observed,
            low=low,
            high=high,
            p_value=p,
            adjusted_p=p,
            detectable=detectable,
            queries=len(grouping.labels),
            groups=grouping.count,
            margin=difference.margin,
        )
        for dim, (observed, low, high, p, detectable) in zip(
            difference.columns, np.stack(columns, axis=1).tolist(), strict=True
        )
    ]


def adjust_comparisons(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Apply Holm's correction to the p-values of a family of comparisons."""
    adjusted = adjust_holm([comparison.p_value for comparison in comparisons])
    return tuple(c.model_copy(update={"adjusted_p": p}) for c, p in zip(comparisons, adjusted, strict=True))


def stack_values(values: PerQuery, dims: Sequence[int], grouping: Grouping) -> Array:
    """Stack per-query values into one array, float64 [n_queries, n_dims].

    Args:
        values: Values of each dimension, [n_queries].
        dims: Dimensions to stack, in the order of the columns.
        grouping: Passage groups of the queries.

    Raises:
        ValueError: If the number of values is not the number of queries, or a value is not finite.
    """
    stacked = np.column_stack([values[dim] for dim in dims]) if dims else np.zeros((len(grouping.labels), 0))
    if len(stacked) != len(grouping.labels):
        raise ValueError(f"values of {len(stacked)} queries, groups of {len(grouping.labels)}")
    if not np.isfinite(stacked).all():
        raise ValueError("a value of a query is not finite")
    return stacked.astype(np.float64)


def _subtract(ours: Array, reference: Array, columns: Sequence[int | None], config: ObjectiveConfig) -> Array:
    """Subtract two arrays of means, [n_rows, n_dims], and append the objective's difference if `columns` has it."""
    differences = ours - reference
    if columns and columns[-1] is None:
        dims = [dim for dim in columns if dim is not None]
        objective = _to_objectives(ours, dims, config) - _to_objectives(reference, dims, config)
        differences = np.column_stack([differences, objective])
    return round_means(differences)


def _to_objectives(means: Array, dims: Sequence[int], config: ObjectiveConfig) -> Array:
    return compute_objectives(dict(zip(dims, means.T, strict=True)), config)
