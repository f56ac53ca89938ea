"""What an evaluation with one id a row would have reported, against the right one, from the same ranking.

Such an evaluation has a copy of the passage for each row, and counts only the row's own copy as right. The copies
of a passage have the same score; they are ordered by row.
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
from embsweep.evaluation.evaluator import mark_hits
from embsweep.evaluation.metrics import MAX_RANK, compute_per_query

MOST_QUERIES = 500
"""Queries that are ranked: enough for a difference of .02, and BM25 over 25,000 passages stays at seconds."""

SHOWN = ("accuracy@1", "recall@10", "map@100")
DIFFERENCE_SHOWN = 0.01


@dataclass(frozen=True)
class RowEvaluation:
    """The same rows twice: as distinct passages (`data`), and as copies.

    `rows` is int64 [n_rows, 3]: query of `data`, passage of the corpus, rows before this one with the same passage.
    `copies` is int64 [n_corpus], at least 1: an unjudged passage stands there once.
    """

    data: RetrievalSet
    rows: NDArray[np.int64]
    copies: NDArray[np.int64]


@dataclass(frozen=True)
class NaiveComparison:
    """Metrics of one ranking, read rightly and with one id a row; `spread` is that of the right MAP@100's queries."""

    ranker: str
    queries: int
    rows: int
    right: Mapping[str, float]
    naive: Mapping[str, float]
    spread: float


def build_row_evaluation(data: SplitView, limit: int = MOST_QUERIES) -> RowEvaluation:
    """Rows of at most `limit` queries of training and validation; the copies are those of all rows.

    The test side's queries are not ranked: they are read once, after the choice.
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


def compare_readings(ranker: str, ranking: NDArray[np.int64], evaluation: RowEvaluation) -> NaiveComparison:
    """Both readings of `ranking`, int64 [n_queries, k]: positions of the best passages of each query, best first.

    k is 100, or the size of a smaller corpus. The right reading is a mean over queries, the naive one over rows.
    """
    data = evaluation.data
    n_relevant = np.array([len(passages) for passages in data.relevant], dtype=np.int64)
    per_query = compute_per_query(mark_hits(ranking, data.relevant, len(data.corpus)), n_relevant)
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
        float(np.std(per_query["map@100"])),
    )


def rank_rows(ranking: NDArray[np.int64], evaluation: RowEvaluation) -> NDArray[np.int64]:
    """The rank of each row's own copy among all copies, from 1: int64 [n_rows]; 0 where its passage is not ranked."""
    query, passage, earlier = evaluation.rows.T
    copies = evaluation.copies[ranking]
    ahead = np.cumsum(copies, axis=1) - copies
    is_own = ranking[query] == passage[:, None]
    place = np.argmax(is_own, axis=1)
    ranks: NDArray[np.int64] = np.where(is_own.any(axis=1), ahead[query, place] + earlier + 1, 0)
    return ranks


def report_naive(readings: NaiveComparison) -> Iterator[Finding]:
    """A note where the two readings are apart."""
    right, naive = readings.right["map@100"], readings.naive["map@100"]
    if abs(right - naive) >= DIFFERENCE_SHOWN:
        message = (
            f"an evaluation with one id a row would report MAP@100 {naive:.3f} for {readings.ranker} where {right:.3f} "
            f"is right, and accuracy@1 {readings.naive['accuracy@1']:.3f} where {readings.right['accuracy@1']:.3f} is"
        )
        yield Finding("naive-evaluation", "note", message)
