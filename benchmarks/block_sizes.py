"""Benchmark sizes of the blocks in which a corpus is ranked, against the sizes that are used.

    OMP_NUM_THREADS=2 python benchmarks/block_sizes.py --passages 60000

A line for each size: the time over that of the size in use, median of pairs, and whether the rankings are equal.
"""

from __future__ import annotations

import argparse
import sys
from unittest import mock

import torch
from measuring import time_pairs
from scoring import DIMS, K, make_embeddings

from embsweep.evaluation import ranking

SIZES = ((256, 2048), (512, 4096), (1024, 512), (1024, 2048), (1024, 4096), (1024, 8192), (4096, 16384), (8192, 65536))


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--passages", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    embeddings = make_embeddings(options.queries, options.passages)
    queries, corpus = (matrix.to(options.device) for matrix in embeddings)

    def rank_in(size: tuple[int, int] | None) -> dict[int, torch.Tensor]:
        with mock.patch.object(ranking, "_choose_block", (lambda *_: size) if size else ranking._choose_block):
            found = ranking.rank(queries, corpus, DIMS, K)
        return {dim: positions.cpu() for dim, positions in found.items()}  # waits for a GPU

    rank_in(None)
    small = -(-options.passages // 64) * 64
    for size in (*SIZES, (512, small), (1024, small)):
        ratio, used, other = time_pairs(lambda: rank_in(None), lambda size=size: rank_in(size), options.rounds)
        equal = all(torch.equal(used[dim], other[dim]) for dim in DIMS)
        sys.stdout.write(f"{size[0]} queries x {size[1]} passages: {ratio:.2f}, {'equal' if equal else 'NOT EQUAL'}\n")


if __name__ == "__main__":
    main()
