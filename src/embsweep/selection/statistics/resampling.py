"""Resampling of whole passage groups: bootstrap means and sign flips with the same draws for every column.

This uses numpy instead of scipy.stats: `bootstrap` and `permutation_test` draw anew for each column and gather every
value of every resample, while here one product of the drawn counts and the group sums gives all columns at once. The
tests compare the results and the run times of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.selection.scores import Array

RESAMPLES = 9_999
_CELLS = 1_000_000
"""Number of resamples × groups that are drawn at once: 8 MB as float64."""
_DECIMALS = 12


@dataclass(frozen=True)
class Grouping:
    """Passage group of each query: `labels` int64 [n_queries] in 0 … n_groups - 1, `sizes` float64 [n_groups]."""

    labels: NDArray[np.int64]
    sizes: Array

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    def sum(self, values: Array) -> Array:
        """Sum the values of each group's queries: [n_queries, n_columns] → float64 [n_groups, n_columns]."""
        sums = np.zeros((self.count, values.shape[1]))
        np.add.at(sums, self.labels, values)
        return sums


def index_groups(groups: Sequence[int] | NDArray[np.integer]) -> Grouping:
    """Build a grouping from arbitrary integer group labels, [n_queries].

    Raises:
        ValueError: If there is no query.
    """
    if len(groups) == 0:
        raise ValueError("no query to compare on")
    _, labels, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return Grouping(labels.astype(np.int64), sizes.astype(np.float64))


def resample_means(values: Array, grouping: Grouping, *, seed: int, resamples: int = RESAMPLES) -> Array:
    """Compute means over the queries in bootstrap samples of whole groups.

    Each sample draws as many groups as there are, with replacement; a mean is the ratio of their sums to their sizes.

    Args:
        values: Values of each query, [n_queries, n_columns].
        grouping: Passage groups of the queries.
        seed: Seed of the draws; the draws do not depend on the values.
        resamples: Number of samples.

    Returns:
        float64 [resamples, n_columns].
    """
    sums = np.column_stack([grouping.sum(values), grouping.sizes])
    rng = np.random.default_rng((seed, 0))
    drawn = [_draw_counts(rng, rows, grouping.count) @ sums for rows in _batches(resamples, grouping.count)]
    totals = np.concatenate(drawn)
    return round_means(totals[:, :-1] / totals[:, -1:])


def sign_flip_means(differences: Array, grouping: Grouping, *, seed: int, resamples: int = RESAMPLES) -> Array:
    """Compute the mean differences for swaps of the two models in some of the groups.

    Args:
        differences: Difference of the two models for each query, [n_queries, n_columns].
        grouping: Passage groups of the queries.
        seed: Seed of the random patterns; they do not depend on the differences.
        resamples: Number of random patterns.

    Returns:
        float64 [n_patterns, n_columns]; the first row is the observed (unswapped) one. All 2^n_groups patterns if
        these are at most `resamples`, otherwise the observed one and `resamples` random ones.
    """
    sums = grouping.sum(differences) / grouping.sizes.sum()
    return np.concatenate([signs @ sums for signs in _draw_signs(grouping.count, seed, resamples)])


def round_means(means: Array) -> Array:
    """Round to 12 decimals: smaller differences come from the order of summation, and equal values must stay equal."""
    return np.asarray(np.round(means, _DECIMALS) + 0.0)  # + 0.0: no negative zero


def _draw_counts(rng: np.random.Generator, rows: int, groups: int) -> Array:
    """Draw `groups` groups for each row and count how often each one was drawn: [rows, groups]."""
    drawn = rng.integers(0, groups, (rows, groups))
    cells = drawn + groups * np.arange(rows)[:, np.newaxis]
    return np.bincount(cells.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _draw_signs(groups: int, seed: int, resamples: int) -> Iterator[Array]:
    if groups < 63 and 2**groups <= resamples:
        patterns = np.arange(2**groups)[:, np.newaxis]
        yield np.where(patterns >> np.arange(groups) & 1, -1.0, 1.0)
        return
    yield np.ones((1, groups))
    rng = np.random.default_rng((seed, 1))
    for rows in _batches(resamples, groups):
        yield np.where(rng.integers(0, 2, (rows, groups), dtype=np.int8), -1.0, 1.0)


def _batches(resamples: int, groups: int) -> Iterator[int]:
    size = max(1, _CELLS // groups)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
