"""Running out of memory: how much was taken, and what a user is told when it was too much."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from embsweep.config import TrialConfig
from embsweep.training.failures import format_error, to_single_line

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""Of a RuntimeError: CUDA's and NCCL's own words, torch's CPU allocator, the system's, cuBLAS and cuDNN."""


def reset_peak() -> None:
    """Forget the peak so far; nothing happens without a GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """The most GPU memory that torch held in this process since the last `reset_peak`; None without a GPU.

    What its allocator has reserved, not what tensors fill: no other process gets the difference.
    """
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None


def release_memory() -> None:
    """Give back what a model took that nobody refers to any more: this process stays, other trials need the card.

    A trainer and its model refer to each other, so that only the collector frees them.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of a GPU or of the machine, was what failed, here or in what caused `error`."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's and Ray's
        return True
    if isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in _SIGNS):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def suggest_memory_fixes(error: BaseException, config: TrialConfig) -> str | None:
    """What helps a trial of this configuration that ran out of memory, in one sentence; None for any other error."""
    if not is_out_of_memory(error):
        return None
    on_gpu = _is_of_gpu(error)
    others = (
        "fewer trials on a GPU (runner.trials_per_gpu)" if on_gpu else "fewer trials at once (runner.max_concurrent)"
    )
    ways = [*(_in_evaluation(config) if was_evaluating(error) else _in_training(config)), others]
    return f"What helps here, first things first: {'; '.join(ways)}."


def describe_failure(error: BaseException, config: TrialConfig, *, retry: str | None = None) -> str:
    """Why a trial failed, in one line for its record; with advice where it ran out of memory.

    `retry` says what was tried before giving up, or why nothing was.
    """
    advice = suggest_memory_fixes(error, config)
    if advice is None:
        return format_error(error)
    where = "GPU memory" if _is_of_gpu(error) else "memory"
    cause = _first_sentence(f"{type(error).__name__}: {error}")
    return " ".join([f"ran out of {where}.", *([retry] if retry else []), advice, f"({to_single_line(cause)})"])


def was_evaluating(error: BaseException) -> bool:
    """Whether it was the evaluation in which `error` was raised, and not the training."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "embsweep.evaluation.evaluator":
            return True
        trace = trace.tb_next
    return False


def _in_training(config: TrialConfig) -> Iterator[str]:
    train, size = config.train, config.loss.mini_batch_size
    is_layered = config.model.kind != "static"
    if size == "auto" or (size is not None and size > 1):
        smaller = 16 if size == "auto" else max(1, min(int(size), train.batch_size) // 2)
        yield f"a smaller loss.mini_batch_size (now {size}, say {smaller}), with the same batch"
    elif config.loss.name == "mnrl" and is_layered:
        unless = " with train.gradient_checkpointing=false" if train.gradient_checkpointing is True else ""
        yield f"loss=cached_mnrl loss.mini_batch_size=8{unless}, the same batch with the memory of 8 pairs"
    if config.loss.name == "mnrl" and is_layered and train.gradient_checkpointing is not True:
        yield "train.gradient_checkpointing=true, which recomputes instead of keeping"
    if config.loss.name == "mnrl" and train.batch_size > 2:
        yield f"a smaller train.batch_size (now {train.batch_size}, say {train.batch_size // 2}), with fewer negatives"
    if train.attention == "eager":
        yield "train.attention=auto, since eager keeps every score"
    if is_layered:
        yield f"a shorter model.max_seq_length (now {config.model.max_seq_length}), where texts are that long"


def _in_evaluation(config: TrialConfig) -> Iterator[str]:
    yield f"a smaller eval.batch_size (now {config.eval.batch_size}): it was the evaluation, which runs in float32"
    if config.model.kind != "static":
        yield f"a shorter model.max_seq_length (now {config.model.max_seq_length}), where texts are that long"


def _is_of_gpu(error: BaseException) -> bool:
    text = str(error).lower()
    return "cuda" in text or "nccl" in text or "cublas" in text or type(error).__module__.startswith("torch")


def _first_sentence(text: str) -> str:
    """Torch goes on about its allocator for lines."""
    return text.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
