"""Evaluate BM25, the lexical baseline that a fine-tuned model should beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embsweep.data.collection import RetrievalSet
from embsweep.data.words import list_terms
from embsweep.evaluation.evaluator import score_ranking
from embsweep.evaluation.metrics import MAX_RANK, compute_means


def measure_bm25(data: RetrievalSet) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Compute every metric of `embsweep.core.names.METRICS` for BM25 on one set, each in [0, 1]; see `rank_bm25`.

    Returns:
        The means, and the values of each query (float64 [n_queries]).
    """
    per_query = score_ranking(rank_bm25(data), data.relevant, len(data.corpus))
    return compute_means(per_query), per_query


def rank_bm25(data: RetrievalSet) -> NDArray[np.int64]:
    """Return the corpus positions of the 100 best passages of each query (of all, if there are fewer), best first.

    Lucene's BM25 with k1 = 1.5, b = .75 (defaults of `bm25s`) over the terms of `embsweep.data.words.list_terms`:
    words, or n-grams where a script has no spaces or its words take affixes. There are no stop words, and the rules
    depend on the script alone, not on the language. Equal scores are ordered by corpus position, passages that share no
    term with the query included.
    """
    import bm25s  # type: ignore[import-untyped]

    index = bm25s.BM25(backend="numpy")
    corpus = [list_terms(text) for text in data.corpus]
    if not any(corpus):  # bm25s needs a term
        return np.tile(np.arange(min(MAX_RANK, len(corpus))), (len(data.queries), 1))
    index.index(corpus, show_progress=False)
    ids = (index.get_tokens_ids(list_terms(text)) for text in data.queries)
    scores = (index.get_scores_from_ids(known) for known in ids)
    return np.array([np.argsort(-of_query, kind="stable")[:MAX_RANK] for of_query in scores])
