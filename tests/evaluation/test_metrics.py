"""Metrics against values computed by hand and against a naive implementation of their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.core.names import METRICS
from embsweep.evaluation.metrics import compute_means, compute_per_query, find_first_ranks


def compute_metrics(hits, n_relevant):
    return compute_means(compute_per_query(hits, n_relevant))


def _hits(*rows: str) -> np.ndarray:
    return np.array([[mark == "x" for mark in row] for row in rows])


def test_one_query_computed_by_hand():
    found = compute_metrics(_hits(".x..x......x"), np.array([4]))
    ndcg = (1 / math.log2(3) + 1 / math.log2(6)) / sum(1 / math.log2(rank + 1) for rank in (1, 2, 3, 4))
    assert found == pytest.approx(
        {
            "accuracy@1": 0, "accuracy@3": 1, "accuracy@5": 1, "accuracy@10": 1,
            "precision@1": 0, "precision@3": 1 / 3, "precision@5": 2 / 5, "precision@10": 2 / 10,
            "recall@1": 0, "recall@3": 1 / 4, "recall@5": 2 / 4, "recall@10": 2 / 4,
            "ndcg@10": ndcg, "mrr@10": 1 / 2, "map@100": (1 / 2 + 2 / 5 + 3 / 12) / 4,
        }
    )  # fmt: skip
    assert tuple(found) == METRICS


def test_average_precision_is_per_query_and_its_mean_is_map():
    hits, n_relevant = _hits("x..", ".x.", "..."), np.array([1, 1, 2])
    np.testing.assert_allclose(compute_per_query(hits, n_relevant)["map@100"], [1, 0.5, 0])
    assert compute_metrics(hits, n_relevant)["map@100"] == pytest.approx(0.5)


def test_first_ranks():
    assert find_first_ranks(_hits("x.x", "..x", "...")).tolist() == [1, 3, 0]


def test_more_relevant_passages_than_ranks_divide_by_100():
    hits = np.ones((1, 100), dtype=bool)
    assert compute_per_query(hits, np.array([250]))["map@100"][0] == pytest.approx(1.0)
    assert compute_metrics(hits, np.array([250]))["recall@10"] == pytest.approx(10 / 250)


def _naive(hits: list[list[bool]], n_relevant: list[int]) -> dict[str, float]:
    """Compute the metrics from their definitions, one query and one rank at a time."""
    total = dict.fromkeys(METRICS, 0.0)
    for row, count in zip(hits, n_relevant, strict=True):
        for k in (1, 3, 5, 10):
            found = sum(row[:k])
            total[f"accuracy@{k}"] += found > 0
            total[f"precision@{k}"] += found / k
            total[f"recall@{k}"] += found / count
        dcg = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(row[:10], 1) if hit)
        total["ndcg@10"] += dcg / sum(1 / math.log2(rank + 1) for rank in range(1, min(10, count) + 1))
        total["mrr@10"] += next((1 / rank for rank, hit in enumerate(row[:10], 1) if hit), 0)
        precisions = [sum(row[:rank]) / rank for rank, hit in enumerate(row[:100], 1) if hit]
        total["map@100"] += sum(precisions) / min(100, count)
    return {name: value / len(hits) for name, value in total.items()}


@st.composite
def rankings(draw):
    width = draw(st.sampled_from([1, 2, 4, 9, 10, 11, 40, 100]))
    row = st.lists(st.booleans(), min_size=width, max_size=width)
    hits = draw(st.lists(row, min_size=1, max_size=4))
    not_retrieved = draw(st.lists(st.integers(0, 120), min_size=len(hits), max_size=len(hits)))
    return hits, [max(1, sum(row) + more) for row, more in zip(hits, not_retrieved, strict=True)]


@given(rankings())
def test_equals_the_naive_oracle(case):
    hits, n_relevant = case
    assert compute_metrics(np.array(hits), np.array(n_relevant)) == pytest.approx(_naive(hits, n_relevant), abs=1e-12)
