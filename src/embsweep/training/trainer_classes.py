"""Subclasses of the trainer's classes. Imports torch: import this module only where a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sentence_transformers import SentenceTransformerTrainingArguments
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


class SingleGpuArguments(SentenceTransformerTrainingArguments):
    """Arguments for at most one GPU per process.

    If a process sees several, the trainer would multiply the batch size by their number and split each batch among
    them, and thereby the in-batch negatives.
    """

    @property
    def n_gpu(self) -> int:
        """Number of GPUs that the trainer uses: 0 or 1."""
        return min(int(super().n_gpu), 1)
