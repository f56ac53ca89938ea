"""Plain tiled top-k in torch, a dimension at a time: what one writes without thinking about nested dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

PASSAGES, QUERIES = 50_000, 250


def rank(queries: torch.Tensor, corpus: torch.Tensor, dims: Sequence[int], k: int) -> dict[int, torch.Tensor]:
    """Return the positions of the k best passages of each query, int64 [n, k] for each dimension."""
    return {dim: _rank(queries[:, :dim], corpus[:, :dim], k) for dim in dims}


def _rank(queries: torch.Tensor, corpus: torch.Tensor, k: int) -> torch.Tensor:
    unit = normalize(queries, dim=1)
    best = torch.full((len(unit), k), -torch.inf)
    positions = torch.zeros((len(unit), k), dtype=torch.long)
    for start in range(0, len(corpus), PASSAGES):
        passages = normalize(corpus[start : start + PASSAGES], dim=1)
        for low in range(0, len(unit), QUERIES):
            part = slice(low, low + QUERIES)
            values, found = (unit[part] @ passages.T).topk(min(k, len(passages)), dim=1)
            values = torch.cat([best[part], values], dim=1)
            found = torch.cat([positions[part], found + start], dim=1)
            best[part], columns = values.topk(k, dim=1)
            positions[part] = found.gather(1, columns)
    return positions
