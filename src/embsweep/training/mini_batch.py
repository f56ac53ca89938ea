"""Measure the fastest mini-batch of a cached loss that fits, on the machine of the trial and on the longest texts.

The sizes grow from a small one. `accelerate.utils.find_executable_batch_size` starts with the largest and waits for an
error, but without a GPU the system kills the process instead.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from embsweep.config import TrialConfig
from embsweep.config.training import LossConfig
from embsweep.core.distributed import current_group
from embsweep.core.gpu_errors import is_out_of_memory
from embsweep.data.collection import Pair, name_negatives
from embsweep.evaluation.evaluator import keep_mode
from embsweep.models import losses
from embsweep.models.prompts import find_column_prompts
from embsweep.training.memory import peak_bytes, release_memory, reset_peak

FIRST_SIZE = 8
SPEED_TOLERANCE = 0.02
"""A larger size that is slower by at most this share counts as equally fast."""

PASSES = 3
MAX_FILL_RATIO = 0.9
"""Share of the memory that may be filled: an allocator leaves gaps."""

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

_MOMENTS = 8
"""Bytes of Adam's two moments for a float32 weight: they do not exist yet when the probe runs."""


def to_columns(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Return the texts of pairs by column: one column for each hard negative of a pair.

    Raises:
        ValueError: If pairs have different numbers of hard negatives (`Splits.train` has not).
    """
    columns = {"anchor": [p.anchor for p in pairs], "positive": [p.positive for p in pairs]}
    negatives = list(zip(*(p.negatives for p in pairs), strict=True))
    return columns | dict(zip(name_negatives(len(negatives)), map(list, negatives), strict=True))


def find_longest(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Return a training batch of `count` pairs with the longest texts of every column (by characters).

    Worse than any batch that can occur, since no pair need be long in every column. If there are fewer than `count`
    pairs, texts are repeated.
    """
    columns = [heapq.nlargest(count, texts, key=len) for texts in to_columns(pairs).values()]
    longest = [Pair(anchor, positive, tuple(rest)) for anchor, positive, *rest in zip(*columns, strict=True)]
    return list(itertools.islice(itertools.cycle(longest), count))


class TooLarge(Exception):
    """Raised if a mini-batch fits, but leaves too little memory for the rest of the training."""


@dataclass(frozen=True)
class Limits:
    """Limits of a probe: rows of a worker's batch, precision, GPU share, and seconds until no new size is tried."""

    rows: int
    precision: str = "fp32"
    memory_share: float = 1.0
    time_s: float = 20.0


def resolve_loss(
    config: TrialConfig, model: SentenceTransformer, pairs: Sequence[Pair], limits: Limits
) -> tuple[LossConfig, dict[str, object]]:
    """Return `config.loss` with `auto` replaced by a measured size, and the facts to record of it.

    All workers of a trial call it together and use the smallest of their sizes: their passes wait for each other.
    Raises the library's out-of-memory error if not even one pair fits.
    """
    loss = config.loss
    if loss.mini_batch_size is None:
        return loss, {}
    if loss.mini_batch_size != "auto":
        return loss, {"mini_batch_size": min(loss.mini_batch_size, limits.rows)}
    clock = time.perf_counter()
    speeds = measure_speeds(config, model, pairs, limits)
    size = min(current_group().gather(choose_fastest(speeds)))
    found = ", ".join(f"{tried}: {f'{v:.3g}' if v else 'does not fit'}" for tried, v in sorted(speeds.items()))
    facts = {
        "mini_batch_size": size,
        "mini_batch_probe": f"pairs per second by size: {found}",
        "mini_batch_probe_s": round(time.perf_counter() - clock, 2),
    }
    return loss.model_copy(update={"mini_batch_size": size}), facts


def measure_speeds(
    config: TrialConfig, model: SentenceTransformer, pairs: Sequence[Pair], limits: Limits
) -> dict[int, float]:
    """Time the cached loss forwards and backwards on the longest texts, one mini-batch at a time; see `try_sizes`.

    Weights, buffers, modes and the state of every random generator are as before. The model has no gradients.
    """
    with keep_mode(model), _keep_buffers_and_generators(model):
        model.train()
        speeds = try_sizes(lambda size: _time_pass(config, model, find_longest(pairs, size), limits), limits)
    release_memory()
    reset_peak()
    return speeds


def try_sizes(measure: Callable[[int], float], limits: Limits) -> dict[int, float]:
    """Double the size from `FIRST_SIZE` while it fits and pays, or halve it if not even that fits.

    Args:
        measure: Returns the seconds of one pass with a size; raises TooLarge or an out-of-memory error if it does not
            fit. That error is raised here if not even one pair fits.
        limits: The search stops at the whole batch, when the time is up, or when twice the size is slower.

    Returns:
        Pairs per second by size, 0 for a size that does not fit.
    """
    clock, size = time.perf_counter(), min(FIRST_SIZE, limits.rows)
    speeds = {size: _try(measure, size)}
    while not speeds[size]:
        size //= 2
        speeds[size] = _try(measure, size)
    while all(speeds.values()) and size < limits.rows and time.perf_counter() - clock <= limits.time_s:
        size = min(2 * size, limits.rows)
        speeds[size] = _try(measure, size)
        if speeds[size] < max(speeds.values()):
            break
    return speeds


def choose_fastest(speeds: Mapping[int, float]) -> int:
    """Return the largest size that is about as fast as the fastest one."""
    least = (1 - SPEED_TOLERANCE) * max(speeds.values())
    return max(size for size, speed in speeds.items() if speed >= least)


def _try(measure: Callable[[int], float], size: int) -> float:
    """Return the pairs per second of a pass, 0 if it does not fit; raise the error if no smaller size is left."""
    try:
        return size / measure(size)
    except Exception as error:
        if size == 1 or not (isinstance(error, TooLarge) or is_out_of_memory(error)):
            raise
    release_memory()  # after the except block: the traceback holds the tensors
    return 0.0


def _time_pass(config: TrialConfig, model: SentenceTransformer, batch: list[Pair], limits: Limits) -> float:
    """Return the seconds of the fastest of a few passes over one mini-batch; of only one if that is slow.

    Raises:
        TooLarge: If it leaves too little memory.
    """
    loss_config = config.loss.model_copy(update={"mini_batch_size": len(batch)})
    loss = losses.build_loss(loss_config, config.matryoshka, model)
    autocast = torch.autocast(  # the trainer's: half precision for the operations that torch considers safe
        model.device.type, dtype=_HALF.get(limits.precision), enabled=limits.precision in _HALF
    )
    reset_peak()
    seconds: list[float] = []
    while len(seconds) < PASSES and sum(seconds) < limits.time_s / 8:
        features = [batch_to_device(inputs, model.device) for inputs in _preprocess(model, to_columns(batch))]
        clock = _synchronised(model)
        with autocast:
            loss(features, None).backward()
        seconds.append(_synchronised(model) - clock)
        model.zero_grad(set_to_none=True)
        _require_memory_left(model, limits)
    return min(seconds)


def _preprocess(model: SentenceTransformer, columns: Mapping[str, list[str]]) -> list[dict[str, torch.Tensor]]:
    """Return the model's inputs for each column, with its prompt as in training."""
    prompts = find_column_prompts(model, columns)
    return [model.preprocess(texts, prompt=prompts.get(name)) for name, texts in columns.items()]


def _require_memory_left(model: SentenceTransformer, limits: Limits) -> None:
    """Raise TooLarge if Adam's moments and our share of the GPU leave too little memory."""
    peak = peak_bytes()
    if peak is None:
        return
    free, total = torch.cuda.mem_get_info()
    capacity = min(total * limits.memory_share, free + torch.cuda.memory_reserved())
    moments = _MOMENTS * sum(p.numel() for p in model.parameters() if p.requires_grad)
    if peak + moments > MAX_FILL_RATIO * capacity:
        raise TooLarge


def _synchronised(model: SentenceTransformer) -> float:
    """Return the time once the device is idle."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


@contextmanager
def _keep_buffers_and_generators(model: SentenceTransformer) -> Iterator[None]:
    """Restore the model's buffers and the random generators that a pass may use: Python's and torch's."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    state = random.getstate()
    with torch.random.fork_rng():  # on the CPU and all GPUs
        try:
            yield
        finally:
            random.setstate(state)
            for buffer, value in buffers:
                buffer.copy_(value)
            model.zero_grad(set_to_none=True)
