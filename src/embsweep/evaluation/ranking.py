"""Rank a corpus for each query by cosine, ties by corpus position: a total order, so results are deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embsweep.core.errors import TrialFailed

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_SCORES = 2**24
"""Scores held at once (64 MiB as float32); if ties need a full sort, its int64 order adds 128 MiB."""


def rank(queries: Tensor, corpus: Tensor, k: int) -> Tensor:
    """Rank the corpus for each query by (-cosine, corpus position).

    This is the order of sentence-transformers 6.2 (`InformationRetrievalEvaluator.compute_all_metrics`) with ascending
    corpus ids. A zero vector has cosine 0. All work is done on the device of the embeddings.

    Args:
        queries: Float [n, d], need not be normalised.
        corpus: Float [m, d], on the same device, need not be normalised.
        k: Number of passages per query.

    Returns:
        Corpus positions of the best passages of each query, best first: int64 [n, min(k, m)].

    Raises:
        TrialFailed: If an embedding is not finite.
    """
    import torch
    from torch.nn.functional import normalize

    _check_finite(queries, "query")
    _check_finite(corpus, "passage")
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        unit_queries = normalize(queries.float(), dim=-1)
        unit_corpus = normalize(corpus.float(), dim=-1).transpose(0, 1)
        blocks = torch.split(unit_queries, max(1, BLOCK_SCORES // len(corpus)))
        return torch.cat([_select_top(torch.mm(block, unit_corpus), min(k, len(corpus))) for block in blocks])


def _select_top(scores: Tensor, k: int) -> Tensor:
    """Return the columns of the k highest scores of each row in the order (-score, column)."""
    scores = scores + 0.0  # -0.0 becomes 0.0: some kernels order by bits
    values, columns = scores.topk(k, dim=1, sorted=False)
    columns = columns.sort(dim=1).values
    order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    chosen = columns.gather(1, order)
    # topk takes any of several equal scores at its boundary: such rows are few and are sorted whole.
    boundary = values.amin(dim=1, keepdim=True)
    tied = (scores >= boundary).sum(dim=1) > k
    if tied.any():
        chosen[tied] = scores[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return chosen


def _check_finite(embeddings: Tensor, what: str) -> None:
    bad = (~embeddings.isfinite()).any(dim=-1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise TrialFailed(
            "not-finite", f"{int(bad.sum())} of {len(embeddings)} {what} embeddings are not finite, first at {first}"
        )
