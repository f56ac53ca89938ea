"""Measure the GPU memory of one trial: two training steps on the longest texts, and one batch of the evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embsweep.config import TrialConfig
from embsweep.data.collection import Pair
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.memory import (
    describe_memory_fixes,
    is_training_out_of_memory,
    peak_bytes,
    release_memory,
    reset_peak,
    suggest_memory_fixes,
)
from embsweep.training.messages import TrialSpec

_RANKED = 8
"""Bytes per float32 value of an embedding during ranking: as encoded, and normalised."""


@dataclass(frozen=True)
class Gpu:
    """A GPU's memory in bytes; `free_bytes` as seen by a process that already holds a CUDA context."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class MemoryUsage:
    """Peak GPU memory of one trial, None if the trial ran out of memory. Without a GPU, both are None.

    `advice` names the settings that need less.
    """

    gpu: Gpu | None
    peak_bytes: int | None
    advice: str | None = None


def measure_footprint(
    config: TrialConfig,
    pairs: Sequence[Pair],
    *,
    corpus_size: int = 0,
    memory_share: float = 1.0,
    smallest_bytes: int | None = None,
    models: tuple[ModelCopy, ...] = (),
) -> MemoryUsage:
    """Train two steps of full batches and encode one batch as an evaluation does. Call it in a new process.

    Adam's moments are allocated by the second step. If a cached loss runs out of memory, its mini-batch is halved, as a
    trial does it. Errors other than out of memory are raised.

    Args:
        config: The trial's configuration.
        pairs: The training pairs.
        corpus_size: Number of texts whose embeddings an evaluation holds.
        memory_share: The trial's share of the GPU.
        smallest_bytes: Memory of the smallest GPU that a trial may get, if that is not this one: a mini-batch that is
            measured must fit there.
        models: Copies of base models; the model is loaded from its copy if there is one.

    Returns:
        The peak, including the embeddings of `corpus_size` texts, or advice if the trial ran out of memory.
    """
    gpu = _inspect_gpu()
    if gpu is not None and smallest_bytes is not None:
        memory_share *= min(1.0, smallest_bytes / gpu.total_bytes)
    while True:
        reset_peak()
        try:
            _run_steps(config, pairs, memory_share, find_copy(config.model, models))
            break
        except Exception as error:
            advice, is_training = suggest_memory_fixes(error, config), is_training_out_of_memory(error)
            if advice is None:
                raise
        release_memory()  # after the except block: the traceback holds the tensors
        smaller = _halve_mini_batch(config) if is_training else None
        if smaller is None:
            return MemoryUsage(gpu, None, advice)
        config = smaller
    peak = peak_bytes()
    if peak is None:
        return MemoryUsage(gpu, None)
    return MemoryUsage(gpu, peak + _RANKED * corpus_size * config.model.dim, describe_memory_fixes(config))


def _halve_mini_batch(config: TrialConfig) -> TrialConfig | None:
    """Return the configuration with which a trial of a cached loss is retried; None if its trial would fail."""
    size = config.loss.mini_batch_size
    if not isinstance(size, int) or size < 2:
        return None
    return config.model_copy(update={"loss": config.loss.model_copy(update={"mini_batch_size": size // 2})})


def _inspect_gpu() -> Gpu | None:
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return Gpu(torch.cuda.get_device_name(), total, free)


def _run_steps(config: TrialConfig, pairs: Sequence[Pair], memory_share: float, folder: Path | None) -> None:
    """Train two epochs of one batch with the trial's trainer, so that casts and buffers are those of a trial."""
    from embsweep.evaluation.evaluator import encode_texts
    from embsweep.training.mini_batch import find_longest
    from embsweep.training.trainer import build_training

    short = config.train.model_copy(update={"epochs": 2.0, "accumulation": 1, "batch_sampler": "batch_sampler"})
    batch, choice = find_longest(pairs, config.train.batch_size), resolve_for_this_process(config, folder)
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        job = TrialSpec(number=0, attempt=1, config=config.model_copy(update={"train": short}), folder=scratch)
        trainer = build_training(job, batch, choice, folder=folder, memory_share=memory_share)[0]
        trainer.train()
    longest = [pair.positive for pair in find_longest(pairs, config.eval.batch_size)]
    encode_texts(trainer.model, longest, "document", batch_size=config.eval.batch_size)
