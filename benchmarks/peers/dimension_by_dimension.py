"""embsweep's ranking until November 2026: each dimension on its own, all passages of a block of queries at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from embsweep.evaluation.evaluator import Evaluation, score_ranking
from embsweep.evaluation.metrics import MAX_RANK, compute_means

BLOCK_SCORES = 2**24


def evaluate_embeddings(
    queries: torch.Tensor, corpus: torch.Tensor, relevant: Sequence[Sequence[int]], dims: Sequence[int]
) -> Evaluation:
    """Compute every metric at each of `dims`, as `embsweep.evaluation.evaluator.evaluate_embeddings`."""
    per_query = {}
    for dim in dims:
        ranking = _rank(queries[:, :dim], corpus[:, :dim], MAX_RANK).numpy()
        per_query[dim] = score_ranking(ranking, relevant, len(corpus))
    return Evaluation({dim: compute_means(values) for dim, values in per_query.items()}, per_query)


def _rank(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> torch.Tensor:
    unit_queries, unit_corpus = normalize(queries, dim=-1), normalize(corpus, dim=-1).T
    blocks = torch.split(unit_queries, max(1, BLOCK_SCORES // len(corpus)))
    return torch.cat([_select_top(torch.mm(block, unit_corpus), min(k, len(corpus))) for block in blocks])


def _select_top(scores: torch.Tensor, k: int) -> torch.Tensor:
    scores = scores + 0.0
    values, columns = scores.topk(k, dim=1, sorted=False)
    columns = columns.sort(dim=1).values
    order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    chosen = columns.gather(1, order)
    tied = (scores >= values.amin(dim=1, keepdim=True)).sum(dim=1) > k
    if tied.any():
        chosen[tied] = scores[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return chosen
