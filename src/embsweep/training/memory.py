"""Measure and release GPU memory, and suggest fixes for a trial that ran out of it."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Iterator

from embsweep.config import TrialConfig
from embsweep.core.gpu_errors import is_out_of_memory
from embsweep.training.failures import format_error, to_single_line

log = logging.getLogger(__name__)


def reset_peak() -> None:
    """Reset the peak of GPU memory; do nothing without a GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """Return the peak of torch's GPU memory in this process since the last `reset_peak`, in bytes; None without a GPU.

    This is the memory that torch's allocator reserved, not only what tensors fill: no other process can use the
    difference.
    """
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None


def release_memory() -> None:
    """Free the memory of unreferenced models, because this process lives on and other trials need the GPU.

    A trainer and its model refer to each other, so only the garbage collector frees them. Nothing is raised: on a
    broken CUDA context `empty_cache` fails too, and its error must not replace the trial's own.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # absent if the trial failed before it was imported
    if torch is not None and torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            log.warning("GPU memory cannot be released: %s", format_error(error))


def suggest_memory_fixes(error: BaseException, config: TrialConfig) -> str | None:
    """Return fixes for a trial that ran out of memory with `config`, in one sentence; None for any other error."""
    if not is_out_of_memory(error):
        return None
    return describe_memory_fixes(config, is_training=not was_evaluating(error), is_of_gpu=_is_of_gpu(error))


def describe_memory_fixes(config: TrialConfig, *, is_training: bool = True, is_of_gpu: bool = True) -> str:
    """Return the settings with which a trial needs less memory, in one sentence.

    Args:
        config: The trial's configuration.
        is_training: Whether training ran out of memory; an evaluation has already halved its batch down to one text.
        is_of_gpu: Whether it is the GPU's memory.
    """
    fixes = [*_suggest_for_training(config)] if is_training else []
    if config.model.kind != "static":
        fixes.append(f"a shorter model.max_seq_length (now {config.model.max_seq_length}), if texts are that long")
    fixes.append(
        f"fewer trials {'on a GPU (runner.trials_per_gpu)' if is_of_gpu else 'at once (runner.max_concurrent)'}"
    )
    return f"Possible fixes, best first: {'; '.join(fixes)}."


def describe_failure(error: BaseException, config: TrialConfig) -> str:
    """Return why a trial failed, in one line for its record, with suggested fixes if it ran out of memory.

    Args:
        error: Error that ended the trial.
        config: Configuration of the attempt.
    """
    advice = suggest_memory_fixes(error, config)
    if advice is None:
        return format_error(error)
    memory_kind = "GPU memory" if _is_of_gpu(error) else "memory"
    first_line = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
    cause = first_line.partition(". ")[0].rstrip(".")  # torch appends several lines about its allocator
    return f"ran out of {memory_kind}. {advice} ({to_single_line(cause)})"


def is_training_out_of_memory(error: BaseException) -> bool:
    """Return whether training ran out of memory; an evaluation has no mini-batch that could be smaller."""
    return is_out_of_memory(error) and not was_evaluating(error)


def was_evaluating(error: BaseException) -> bool:
    """Return whether `error` was raised during the evaluation, not during training."""
    modules = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
    return "embsweep.evaluation.evaluator" in modules


def _suggest_for_training(config: TrialConfig) -> Iterator[str]:
    train, size = config.train, config.loss.mini_batch_size
    is_layered = config.model.kind != "static"
    if size == "auto" or (size is not None and size > 1):
        smaller = 16 if size == "auto" else max(1, min(int(size), train.batch_size) // 2)
        yield f"a smaller loss.mini_batch_size (now {size}, try {smaller}), with the same batch"
    elif config.loss.name == "mnrl" and is_layered:
        extra = " with train.gradient_checkpointing=false" if train.gradient_checkpointing is True else ""
        yield f"loss=cached_mnrl loss.mini_batch_size=8{extra}, the same batch, using memory for 8 pairs"
    if config.loss.name == "mnrl" and is_layered and train.gradient_checkpointing is not True:
        yield "train.gradient_checkpointing=true (or train=small_gpu), which recomputes activations"
    if config.loss.name == "mnrl" and train.batch_size > 2:
        yield f"a smaller train.batch_size (now {train.batch_size}, try {train.batch_size // 2}), with fewer negatives"
    if train.attention == "eager":
        yield "train.attention=auto, since eager keeps all scores"


def _is_of_gpu(error: BaseException) -> bool:
    text = str(error).lower()
    return "cuda" in text or "nccl" in text or "cublas" in text or type(error).__module__.startswith("torch")
