"""Comparison of a naive evaluation, with one passage id per row, and the correct one, from the same ranking.

The naive evaluation has a copy of the passage for each row, and only the row's own copy is relevant. The copies of a
passage have the same score; they are ordered by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.audit.findings import Finding
from embsweep.audit.split_view import TEST, SplitView, draw_sample
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import score_ranking
from embsweep.evaluation.metrics import MAX_RANK

MOST_QUERIES = 500
"""Number of queries that are ranked: enough for a difference of .02; BM25 over 25,000 passages takes only seconds."""

FEWEST_VARYING = 5
"""Number of queries whose average precision differs from the most frequent value, below which a spread means nothing.

Where BM25 ranks all queries right, its spread is zero, but that of a model on the same queries is not.
"""

SHOWN = ("accuracy@1", "recall@10", "map@100")
DIFFERENCE_SHOWN = 0.01


@dataclass(frozen=True)
class RowEvaluation:
    """The same rows in two forms: with distinct passages (`data`), and with one copy of the passage per row.

    `rows` is int64 [n_rows, 3]: position of the query in `data`, position of the passage in the corpus, number of
    earlier rows with the same passage. `copies` is int64 [n_corpus], at least 1: an unjudged passage has one copy.
    """

    data: RetrievalSet
    rows: NDArray[np.int64]
    copies: NDArray[np.int64]


@dataclass(frozen=True)
class NaiveComparison:
    """Metrics of one ranking, `right` and `naive` (one id per row).

    `spread` is the standard deviation of the queries' average precision in the right evaluation, None if fewer than
    `FEWEST_VARYING` queries differ from the most frequent value.
    """

    ranker: str
    queries: int
    rows: int
    right: Mapping[str, float]
    naive: Mapping[str, float]
    spread: float | None


def build_row_evaluation(data: SplitView, limit: int = MOST_QUERIES) -> RowEvaluation:
    """Build the rows of at most `limit` queries of training and validation; copies are counted over all rows.

    The test side's queries are not ranked: they are only evaluated after the winner is selected.
    """
    answers = {query: texts for side in data.sides if side.name != TEST for query, texts in side.answers.items()}
    queries = draw_sample(tuple(answers), limit)
    position = {text: number for number, text in enumerate(data.corpus)}
    number = {query: place for place, query in enumerate(queries)}
    seen: Counter[str] = Counter()
    rows = []
    for query, passage in data.rows:
        if query in number:
            rows.append((number[query], position[passage], seen[passage]))
        seen[passage] += 1
    relevant = tuple(tuple(sorted(position[text] for text in answers[query])) for query in queries)
    copies = np.array([max(1, seen[text]) for text in data.corpus], dtype=np.int64)
    return RowEvaluation(RetrievalSet("audit", queries, data.corpus, relevant), np.array(rows, dtype=np.int64), copies)


def compare_evaluations(ranker: str, ranking: NDArray[np.int64], evaluation: RowEvaluation) -> NaiveComparison:
    """Compute the metrics of one ranking with both evaluations; the right one averages queries, the naive one rows.

    Args:
        ranker: Name of the model that made the ranking.
        ranking: int64 [n_queries, k]: positions of the best passages of each query, best first. k is 100, or the size
            of a smaller corpus.
        evaluation: Rows and copies of the ranked queries.
    """
    data = evaluation.data
    per_query = score_ranking(ranking, data.relevant, len(data.corpus))
    ranks = rank_rows(ranking, evaluation)
    is_ranked = (ranks > 0) & (ranks <= MAX_RANK)
    naive = {
        "accuracy@1": np.mean(ranks == 1),
        "recall@10": np.mean(is_ranked & (ranks <= 10)),
        "map@100": np.mean(np.where(is_ranked, 1 / np.maximum(ranks, 1), 0.0)),
    }
    return NaiveComparison(
        ranker,
        len(data.queries),
        len(ranks),
        {metric: float(np.mean(per_query[metric])) for metric in SHOWN},
        {metric: float(naive[metric]) for metric in SHOWN},
        _measure_spread(per_query["map@100"]),
    )


def _measure_spread(precisions: NDArray[np.float64]) -> float | None:
    most_frequent = Counter(precisions.tolist()).most_common(1)[0][1]
    return float(np.std(precisions)) if len(precisions) - most_frequent >= FEWEST_VARYING else None


def rank_rows(ranking: NDArray[np.int64], evaluation: RowEvaluation) -> NDArray[np.int64]:
    """Return the rank of each row's own copy among all copies: int64 [n_rows], from 1, or 0 if it is not ranked."""
    query, passage, earlier = evaluation.rows.T
    copies = evaluation.copies[ranking]
    ahead = np.cumsum(copies, axis=1) - copies
    is_own = ranking[query] == passage[:, None]
    place = np.argmax(is_own, axis=1)
    ranks: NDArray[np.int64] = np.where(is_own.any(axis=1), ahead[query, place] + earlier + 1, 0)
    return ranks


def report_naive(readings: NaiveComparison) -> Iterator[Finding]:
    """Yield a note if MAP@100 differs between the two evaluations by at least `DIFFERENCE_SHOWN`."""
    right, naive = readings.right["map@100"], readings.naive["map@100"]
    if abs(right - naive) >= DIFFERENCE_SHOWN:
        message = (
            f"an evaluation with one id per row would report MAP@100 {naive:.3f} for {readings.ranker} instead of "
            f"{right:.3f}, and accuracy@1 {readings.naive['accuracy@1']:.3f} instead of "
            f"{readings.right['accuracy@1']:.3f}"
        )
        yield Finding("naive-evaluation", "note", message)
