"""Benchmark the ranking at six nested dimensions against plain tiled top-k, a dimension at a time.

    OMP_NUM_THREADS=2 python benchmarks/scoring.py --queries 1000 --passages 200000

`against_product` is the time over that of one matrix product of the largest dimension, the limit. `memory` is the peak
of queries, corpus and ranking over the embeddings of both. The cosines of both rankings must agree to 1e-6 in float64.
"""

from __future__ import annotations

import argparse

import torch
from measuring import emit, peak_growth, time_pairs
from peers import tiled_top_k
from torch.nn.functional import normalize

from embsweep.evaluation.ranking import rank

DIMS = (1024, 768, 512, 256, 128, 64)
K = 100


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    made: list[tuple[torch.Tensor, torch.Tensor]] = []

    def rank_new() -> None:
        made.append(make_embeddings(options.queries, options.passages))
        rank(*made[0], DIMS, K)

    rank(*make_embeddings(100, 3_000), DIMS, K)  # loads what is loaded once
    peak = peak_growth(rank_new)
    queries, corpus = made[0]
    tiled, ours, theirs = time_pairs(
        lambda: rank(queries, corpus, DIMS, K), lambda: tiled_top_k.rank(queries, corpus, DIMS, K), options.rounds
    )
    product, _, _ = time_pairs(lambda: _multiply(queries, corpus), lambda: rank(queries, corpus, DIMS, K), 1)
    worst = max(_largest_difference(queries[:, :d], corpus[:, :d], ours[d], theirs[d]) for d in DIMS)
    size = (queries.numel() + corpus.numel()) * queries.element_size()
    emit(against_tiled=tiled, against_product=product, memory=peak / size, equal=worst < 1e-6)


def make_embeddings(n_queries: int, n_passages: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return queries and passages around 2,000 common topics, float32 [n, 1024]."""
    generator = torch.Generator().manual_seed(0)
    topics = torch.randn(2_000, DIMS[0], generator=generator)
    queries, corpus = torch.empty(n_queries, DIMS[0]), torch.empty(n_passages, DIMS[0])
    for matrix in (queries, corpus):
        for rows in matrix.split(4096):
            chosen = torch.randint(0, len(topics), (len(rows),), generator=generator)
            rows.copy_(torch.randn(rows.shape, generator=generator) + topics[chosen])
    return queries, corpus


def _multiply(queries: torch.Tensor, corpus: torch.Tensor) -> None:
    """Multiply in blocks as the ranking does, and keep nothing."""
    for rows in queries.split(1024):
        for passages in corpus.split(2048):
            torch.mm(rows, passages.T)


def _largest_difference(queries: torch.Tensor, corpus: torch.Tensor, *rankings: torch.Tensor) -> float:
    """Return the largest difference of the cosines of two rankings, place by place, in float64."""
    worst = 0.0
    for row, query in enumerate(normalize(queries.double(), dim=1)):
        first, second = (normalize(corpus[r[row]].double(), dim=1) @ query for r in rankings)
        worst = max(worst, float((first - second).abs().max()))
    return worst


if __name__ == "__main__":
    main()
