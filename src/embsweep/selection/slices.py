"""Slices: how base and winner score on the test queries of each source, language or product (`data.slice`).

The queries of a slice are resampled in whole passage groups, as those of the whole test split are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embsweep.core.names import NO_SLICE, OTHER_SLICES
from embsweep.selection.evidence import BASE, WINNER, Evidence, Interval
from embsweep.selection.scores import Array
from embsweep.selection.statistics.intervals import adjust_holm, confidence_bounds, randomisation_p
from embsweep.selection.statistics.resampling import index_groups, resample_means, sign_flip_means

FEWEST_GROUPS = 5
"""A slice with fewer passage groups gets no scores: they would say nothing about other queries."""

_SEED = 0
"""The draws are the same each time, so that card and report show the same intervals."""


@dataclass(frozen=True)
class SliceResult:
    """Base and winner on the test queries of one slice: the objective's metric at the largest dimension.

    `difference` is the winner's score minus the base model's on the same queries. `adjusted_p` is the p-value of its
    two-sided randomisation test after Holm's correction for all slices. The last four are None if the slice has fewer
    than `FEWEST_GROUPS` passage groups. `is_significant_loss` says that the difference is negative, that its interval
    is below 0 and that `adjusted_p` is below the gate's `alpha`.
    """

    name: str
    queries: int
    groups: int
    base: Interval | None = None
    winner: Interval | None = None
    difference: Interval | None = None
    adjusted_p: float | None = None
    is_significant_loss: bool = False


def compare_slices(evidence: Evidence) -> tuple[SliceResult, ...]:
    """Compare base and winner on each slice of the test queries.

    Args:
        evidence: Evidence about the winner.

    Returns:
        The slices by their number of queries, the largest first; those that stand for other values or for none come
        last. Empty if the evidence has no slices, or lacks the scores of the queries at its largest dimension.

    Raises:
        ValueError: If there is not one score for each query, or one is not finite.
    """
    values = _select_values(evidence)
    if not evidence.slices or values is None:
        return ()
    labels, groups = np.array(evidence.slices, dtype=object), np.array(evidence.groups, dtype=np.int64)
    results = [_compare(name, values[labels == name], groups[labels == name]) for name in _order(evidence.slices)]
    tested = [result for result in results if result.adjusted_p is not None]
    adjusted = adjust_holm([result.adjusted_p or 0.0 for result in tested])
    found = {r.name: _judge(r, p, evidence.gate.alpha) for r, p in zip(tested, adjusted, strict=True)}
    return tuple(found.get(result.name, result) for result in results)


def worst_slice(results: Sequence[SliceResult]) -> SliceResult | None:
    """Return the slice whose score fell most from base to winner, None if none fell.

    Slices with a significant loss come before all others, as a small slice may have lost more by chance.
    """
    fallen = [result for result in results if result.difference is not None and result.difference.mean < 0]
    return min(fallen, key=_rank_loss, default=None)


def _rank_loss(result: SliceResult) -> tuple[bool, float]:
    return not result.is_significant_loss, result.difference.mean if result.difference is not None else 0.0


def _select_values(evidence: Evidence) -> Array | None:
    """Return the scores of base and winner at the largest dimension, float64 [n_queries, 2]."""
    base, winner = (evidence.test[name].per_query.get(max(evidence.dims)) for name in (BASE, WINNER))
    if base is None or winner is None:
        return None
    sizes = {len(base), len(winner), len(evidence.groups), len(evidence.slices)}
    if evidence.slices and len(sizes) > 1:
        raise ValueError(f"slices, groups and scores of {sorted(sizes)} queries")
    values = np.column_stack([base, winner])
    if not np.isfinite(values).all():
        raise ValueError("a value of a query is not finite")
    return values


def _order(labels: Sequence[str]) -> list[str]:
    counts = Counter(labels)
    return sorted(counts, key=lambda name: (name in (OTHER_SLICES, NO_SLICE), -counts[name], name))


def _compare(name: str, values: Array, groups: NDArray[np.int64]) -> SliceResult:
    grouping = index_groups(groups)
    result = SliceResult(name, len(values), grouping.count)
    if grouping.count < FEWEST_GROUPS:
        return result
    columns = np.column_stack([values, values[:, 1] - values[:, 0]])
    resampled, means = resample_means(columns, grouping, seed=_SEED), columns.mean(axis=0)
    scores = confidence_bounds(means[:2], resampled[:, :2], grouping, (0.0, 1.0))
    difference = confidence_bounds(means[2:], resampled[:, 2:], grouping, (-1.0, 1.0))
    bounds = np.column_stack([scores, difference]).T.tolist()
    base, winner, gain = (
        Interval(mean=mean, low=low, high=high) for mean, (low, high) in zip(means.tolist(), bounds, strict=True)
    )
    flipped = sign_flip_means(columns[:, 2:], grouping, seed=_SEED)
    p = float(randomisation_p(flipped)[0])
    return replace(result, base=base, winner=winner, difference=gain, adjusted_p=p)


def _judge(result: SliceResult, adjusted_p: float, alpha: float) -> SliceResult:
    is_below = result.difference is not None and result.difference.high < 0
    return replace(result, adjusted_p=adjusted_p, is_significant_loss=is_below and adjusted_p < alpha)
