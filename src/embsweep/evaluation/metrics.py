"""Retrieval metrics of a ranking, by the formulas of sentence-transformers' InformationRetrievalEvaluator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embsweep.core.names import METRICS

MAX_RANK = 100
"""Number of ranks that the deepest metric (MAP@100) uses."""

_CUTOFFS = (1, 3, 5, 10)
_DEPTH = 10

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def compute_means(per_query: Mapping[str, Values]) -> dict[str, float]:
    """Average each metric over the queries."""
    return {metric: float(np.mean(values)) for metric, values in per_query.items()}


def find_first_ranks(hits: Hits) -> NDArray[np.int64]:
    """Return the rank of each query's first relevant passage, int64 [n_queries]: 1 is the best, 0 if there is none."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int64)


def compute_per_query(hits: Hits, n_relevant: Counts) -> dict[str, Values]:
    """Compute every metric of `embsweep.core.names.METRICS` for each query.

    The formulas are those of sentence-transformers 6.2, `InformationRetrievalEvaluator.compute_metrics`.

    Args:
        hits: Bool [n_queries, k], at least one query: whether the passage at each rank is relevant, best rank first. If
            k is below 100, the corpus has no more passages, and the missing ranks count as misses.
        n_relevant: Int [n_queries]: number of relevant passages of each query, at least 1.

    Returns:
        Metric → float64 [n_queries], each value in [0, 1].
    """
    padded = np.zeros((len(hits), MAX_RANK), dtype=bool)
    padded[:, : hits.shape[1]] = hits[:, :MAX_RANK]
    found = np.cumsum(padded, axis=1)
    values: dict[str, Values] = {}
    for k in _CUTOFFS:
        found_at_k = found[:, k - 1]
        values[f"accuracy@{k}"] = (found_at_k > 0).astype(np.float64)
        values[f"precision@{k}"] = found_at_k / k
        values[f"recall@{k}"] = found_at_k / n_relevant
    values[f"ndcg@{_DEPTH}"] = _compute_ndcg(padded, n_relevant)
    values[f"mrr@{_DEPTH}"] = _compute_reciprocal_rank(padded)
    values[f"map@{MAX_RANK}"] = _compute_average_precision(hits, n_relevant)
    return {name: values[name] for name in METRICS}


def _compute_average_precision(hits: Hits, n_relevant: Counts) -> Values:
    """Compute the average precision at 100 of each query, float64 [n_queries]; their mean is MAP@100.

    AP = sum over relevant ranks r <= 100 of (relevant found up to r) / r, divided by min(100, n_relevant).
    """
    top = hits[:, :MAX_RANK]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    average: Values = np.sum(precision * top, axis=1) / np.minimum(n_relevant, MAX_RANK)
    return average


def _compute_ndcg(hits: Hits, n_relevant: Counts) -> Values:
    """Divide the DCG (gain 1, discount log2(rank + 1)) by that of a ranking with every relevant passage first."""
    discounts = 1 / np.log2(np.arange(_DEPTH) + 2)
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, _DEPTH) - 1]
    ndcg: Values = hits[:, :_DEPTH] @ discounts / ideal
    return ndcg


def _compute_reciprocal_rank(hits: Hits) -> Values:
    top = hits[:, :_DEPTH]
    return np.where(top.any(axis=1), 1 / (np.argmax(top, axis=1) + 1), 0.0)
