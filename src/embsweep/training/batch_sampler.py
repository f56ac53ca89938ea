"""Batch sampler whose order depends only on the seed and the epoch. Imports torch: import it only in a trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler


class EpochBatchSampler(DefaultBatchSampler):
    """Default sampler of sentence-transformers, but with a new seed for every epoch (`seed + epoch`).

    The library's sampler continues one generator over all epochs, so that a trial resumed in a later epoch would see
    other batches than an uninterrupted one. Here the order depends only on the seed and the epoch. The first epoch
    equals the library's.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(RandomSampler(dataset, generator=options["generator"]), **options)

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()
