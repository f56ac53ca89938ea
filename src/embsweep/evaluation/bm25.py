"""Evaluate BM25, the lexical baseline that a fine-tuned model should beat."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import mark_hits
from embsweep.evaluation.metrics import MAX_RANK, compute_means, compute_per_query

_WORD = re.compile(r"\w+")


def evaluate_bm25(data: RetrievalSet) -> dict[str, float]:
    """Compute every metric of `embsweep.core.names.METRICS` for BM25 on one set, each in [0, 1]; see `rank_bm25`."""
    return measure_bm25(data)[0]


def measure_bm25(data: RetrievalSet) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Compute every metric for BM25 on one set: the means, and the values of each query (float64 [n_queries])."""
    hits = mark_hits(rank_bm25(data), data.relevant, len(data.corpus))
    n_relevant = np.array([len(set(passages)) for passages in data.relevant], dtype=np.int64)
    per_query = compute_per_query(hits, n_relevant)
    return compute_means(per_query), per_query


def rank_bm25(data: RetrievalSet) -> NDArray[np.int64]:
    """Return the corpus positions of the 100 best passages of each query (of all, if there are fewer), best first.

    Lucene's BM25 with k1 = 1.5, b = .75 (defaults of `bm25s`) over lower-cased runs of Unicode letters, digits and
    underscores; no stemming and no stop words, so it is the same for every language. Equal scores are ordered by corpus
    position, passages that share no word with the query included.
    """
    import bm25s  # type: ignore[import-untyped]

    index = bm25s.BM25(backend="numpy")
    index.index([tokenize(text) for text in data.corpus], show_progress=False)
    ids = (index.get_tokens_ids(tokenize(text)) for text in data.queries)
    return np.array([_rank(index.get_scores_from_ids(known)) for known in ids])


def tokenize(text: str) -> list[str]:
    """Return the lower-cased words of a text, in order."""
    return _WORD.findall(text.lower())


def _rank(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[:MAX_RANK]
