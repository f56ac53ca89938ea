"""Random batches whose order follows from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler


class EpochBatchSampler(DefaultBatchSampler):
    """sentence-transformers' default sampler, seeded anew in every epoch.

    The library's own goes on with one generator, so that a trial that is taken up in a later epoch would see other
    batches than one that was never interrupted. The first epoch is the same.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(RandomSampler(dataset, generator=options["generator"]), **options)

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()
