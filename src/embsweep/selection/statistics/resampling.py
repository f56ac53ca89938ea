"""Resampling of whole passage groups: bootstrap means and sign flips, the same draws for every column.

numpy and not scipy.stats: `bootstrap` and `permutation_test` draw anew for each column and gather every value of
every resample, where one product of the drawn counts with the groups' sums serves all columns at once. The tests
compare results and times of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 9_999
_CELLS = 1_000_000
"""Resamples × groups drawn at once: 8 MB as float64."""
_DECIMALS = 12


@dataclass(frozen=True)
class Grouping:
    """Which passage group each query belongs to: `labels` int64 [n_queries] in 0 … n_groups - 1, `sizes` [n_groups]."""

    labels: NDArray[np.int64]
    sizes: Array

    @property
    def count(self) -> int:
        """How many groups there are."""
        return len(self.sizes)

    def sum(self, values: Array) -> Array:
        """Sums over each group's queries: [n_queries, n_columns] → float64 [n_groups, n_columns]."""
        sums = np.zeros((self.count, values.shape[1]))
        np.add.at(sums, self.labels, values)
        return sums


def index_groups(groups: Sequence[int] | NDArray[np.integer]) -> Grouping:
    """Group labels of any integers as a grouping. ValueError where there is no query."""
    if len(groups) == 0:
        raise ValueError("no query to compare on")
    _, labels, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return Grouping(labels.astype(np.int64), sizes.astype(np.float64))


def resample_means(values: Array, grouping: Grouping, *, seed: int, resamples: int = RESAMPLES) -> Array:
    """Means over the queries in bootstrap samples of whole groups: [n_queries, n_columns] → [resamples, n_columns].

    As many groups as there are, drawn with replacement; the mean is the ratio of their sums to their sizes.
    """
    sums = np.column_stack([grouping.sum(values), grouping.sizes])
    rng = np.random.default_rng((seed, 0))
    drawn = [_draw_counts(rng, rows, grouping.count) @ sums for rows in _batches(resamples, grouping.count)]
    totals = np.concatenate(drawn)
    return round_means(totals[:, :-1] / totals[:, -1:])


def sign_flip_means(differences: Array, grouping: Grouping, *, seed: int, resamples: int = RESAMPLES) -> Array:
    """Mean differences had each group's two models been swapped or not: [n_queries, n_columns] → [n, n_columns].

    The first row is the observed one. All 2^n_groups patterns where there are not more than `resamples`, else the
    observed one and so many random ones.
    """
    sums = grouping.sum(differences) / grouping.sizes.sum()
    return np.concatenate([signs @ sums for signs in _draw_signs(grouping.count, seed, resamples)])


def round_means(means: Array) -> Array:
    """Rounded to 12 decimals: what lies below is the order of summation, and equal values must stay equal."""
    return np.asarray(np.round(means, _DECIMALS) + 0.0)  # + 0.0: no negative zero


def _draw_counts(rng: np.random.Generator, rows: int, groups: int) -> Array:
    """How often each group was drawn: [rows, groups]."""
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
