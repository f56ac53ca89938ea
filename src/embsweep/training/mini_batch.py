"""Measure the fastest mini-batch of a cached loss that fits, on the machine of the trial and on the longest texts."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embsweep.config import TrialConfig
from embsweep.config.training import LossConfig
from embsweep.core.distributed import current_group
from embsweep.data.collection import Pair
from embsweep.training.memory import is_out_of_memory, peak_bytes, release_memory, reset_peak

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor


def find_longest(pairs: Sequence[Pair], count: int) -> dict[str, list[str]]:
    """Return the columns of a training batch with `count` texts each, the longest of every column (by characters).

    Worse than any batch that can occur, since no pair need be long in every column. If there are fewer than `count`
    pairs, texts are repeated.
    """
    columns = {"anchor": [p.anchor for p in pairs], "positive": [p.positive for p in pairs]}
    if pairs[0].negative is not None:
        columns["negative"] = [p.negative or "" for p in pairs]
    return {name: _longest(texts, count) for name, texts in columns.items()}


def _longest(texts: list[str], count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(heapq.nlargest(count, texts, key=len)), count))


FIRST_SIZE = 8
SPEED_TOLERANCE = 0.02
"""A larger size that is slower by at most this share counts as equally fast."""

PASSES = 3
MAX_FILL_RATIO = 0.9
"""Share of the memory that may be filled: an allocator leaves gaps."""

_MOMENTS = 8
"""Bytes of Adam's two moments for a float32 weight: they do not exist yet when the probe runs."""


class TooLarge(Exception):
    """Raised if a mini-batch fits, but leaves too little memory for the rest of the training."""


@dataclass(frozen=True)
class Limits:
    """Limits of a probe: rows of a worker's batch, precision, GPU share, and seconds until no new size is tried."""

    rows: int
    precision: str = "fp32"
    memory_share: float = 1.0
    time_s: float = 20.0


@dataclass(frozen=True)
class MiniBatchProbe:
    """The chosen `size`, pairs per second of every size that fits, and the smallest size that does not."""

    size: int
    speeds: Mapping[int, float]
    too_large: int | None
    took_s: float

    def facts(self) -> dict[str, object]:
        """Return the facts to record of the trial."""
        speeds = ", ".join(f"{size}: {speed:.3g}" for size, speed in sorted(self.speeds.items()))
        unfit = f"; {self.too_large} does not fit" if self.too_large else ""
        return {
            "mini_batch_size": self.size,
            "mini_batch_probe": f"pairs per second by size: {speeds}{unfit}",
            "mini_batch_probe_s": round(self.took_s, 2),
        }


@dataclass(frozen=True)
class ResolvedLoss:
    """The loss with its mini-batch as a number, and what is to be recorded of it."""

    loss: LossConfig
    facts: Mapping[str, object]

    @property
    def size(self) -> int | None:
        """Pairs of a mini-batch; None for a loss without mini-batches."""
        return None if self.loss.mini_batch_size is None else int(self.loss.mini_batch_size)


def resolve_loss(
    config: TrialConfig, model: SentenceTransformer, pairs: Sequence[Pair], limits: Limits
) -> ResolvedLoss:
    """Return `config.loss` with `auto` replaced by a measured size, and any other loss unchanged.

    All workers of a trial call it together and use the smallest of their sizes: their passes wait for each other.
    Raises the library's out-of-memory error if not even one pair fits.
    """
    loss = config.loss
    if loss.mini_batch_size != "auto":
        return ResolvedLoss(loss, {} if loss.mini_batch_size is None else {"mini_batch_size": loss.mini_batch_size})
    found = measure_mini_batch(config, model, pairs, limits)
    size = min(current_group().gather(found.size))
    return ResolvedLoss(loss.model_copy(update={"mini_batch_size": size}), {**found.facts(), "mini_batch_size": size})


def measure_mini_batch(
    config: TrialConfig, model: SentenceTransformer, pairs: Sequence[Pair], limits: Limits
) -> MiniBatchProbe:
    """Time the cached loss forwards and backwards on the longest texts, one mini-batch at a time.

    Weights, gradients, buffers, modes and the state of every random generator are as before.
    """
    reset_peak()
    with _preserve_model_state(model):
        passes = _Probe(config, model, pairs, limits)
        found = find_fastest(passes.measure, limits)
    release_memory()
    reset_peak()
    return found


def find_fastest(measure: Callable[[int], float], limits: Limits) -> MiniBatchProbe:
    """Double the size from `FIRST_SIZE` while it fits, or halve it if not even that fits; select the fastest.

    `measure(size)` returns the seconds of one pass, and raises TooLarge or an out-of-memory error if it does not fit;
    that error is raised here if not even one pair fits. The search stops at the whole batch, when the time is up, or
    when twice the size is slower.
    """
    clock = time.perf_counter()
    speeds: dict[int, float] = {}
    too_large: int | None = None
    size = min(FIRST_SIZE, limits.rows)
    while True:
        seconds = _try(measure, size)
        if seconds is None:
            too_large = size
            size //= 2
            if speeds:
                break
            continue
        slower = bool(speeds) and size / seconds < max(speeds.values())
        speeds[size] = size / seconds
        if too_large or slower or size == limits.rows or time.perf_counter() - clock > limits.time_s:
            break
        size = min(2 * size, limits.rows)
    best = max(speed for speed in speeds.values())
    chosen = max(size for size, speed in speeds.items() if speed >= (1 - SPEED_TOLERANCE) * best)
    return MiniBatchProbe(chosen, speeds, too_large, time.perf_counter() - clock)


def _try(measure: Callable[[int], float], size: int) -> float | None:
    """Return the seconds of a pass, None if it does not fit; raise the error if no smaller size is left."""
    try:
        return measure(size)
    except Exception as error:
        if size == 1 or not (isinstance(error, TooLarge) or is_out_of_memory(error)):
            raise
    release_memory()  # after the except block: the traceback holds the tensors
    return None


class _Probe:
    """Time single passes of the cached loss at a given mini-batch."""

    def __init__(self, config: TrialConfig, model: SentenceTransformer, pairs: Sequence[Pair], limits: Limits) -> None:
        self._config, self._model, self._pairs, self._limits = config, model, pairs, limits

    def measure(self, size: int) -> float:
        """Return the seconds of the fastest of a few passes over `size` pairs; of only one if that is slow."""
        texts = find_longest(self._pairs, size)
        reset_peak()
        seconds: list[float] = []
        while len(seconds) < PASSES and sum(seconds) < self._limits.time_s / 8:
            seconds.append(self._run(size, texts))
            self._check_memory()
        return min(seconds)

    def _run(self, size: int, texts: Mapping[str, list[str]]) -> float:
        from embsweep.models.losses import build_loss

        model = self._model
        cut = self._config.loss.model_copy(update={"mini_batch_size": size})
        loss = build_loss(cut, self._config.matryoshka, model)
        features = [to_features(model, column) for column in texts.values()]
        clock = _synchronised(model)
        with autocast(model, self._limits.precision):
            loss(features, None).backward()
        took = _synchronised(model) - clock
        model.zero_grad(set_to_none=True)
        return took

    def _check_memory(self) -> None:
        """Raise TooLarge if Adam's moments and our share of the GPU leave too little memory."""
        import torch

        peak = peak_bytes()
        if peak is None:
            return
        free, total = torch.cuda.mem_get_info()
        capacity = min(total * self._limits.memory_share, free + torch.cuda.memory_reserved())
        moments = _MOMENTS * sum(p.numel() for p in self._model.parameters() if p.requires_grad)
        if peak + moments > MAX_FILL_RATIO * capacity:
            raise TooLarge


def to_features(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    """Return one column of a batch as the trainer's collator makes it, on the model's device."""
    found = model.preprocess(texts)
    return {name: value.to(model.device) if hasattr(value, "to") else value for name, value in found.items()}


@contextmanager
def autocast(model: SentenceTransformer, precision: str) -> Iterator[None]:
    """Use the trainer's autocast: float32 weights, half precision for the operations that torch considers safe."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.autocast(model.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


def _synchronised(model: SentenceTransformer) -> float:
    """Return the time once the device is idle."""
    import torch

    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


@contextmanager
def _preserve_model_state(model: SentenceTransformer) -> Iterator[None]:
    """Put the model in training mode; restore RNG state, gradients and buffers afterwards."""
    generators = _read_generators()
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    for parameter, _ in grads:
        parameter.grad = None
    model.train()
    try:
        yield
    finally:
        for parameter, grad in grads:
            parameter.grad = grad
        for buffer, value in buffers:
            buffer.copy_(value)
        for module, training in modes:
            module.training = training
        _write_generators(*generators)


def _read_generators() -> tuple[Any, Any, Tensor, list[Tensor]]:
    import numpy as np
    import torch

    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), on_gpu


def _write_generators(python: Any, numpy: Any, on_cpu: Tensor, on_gpu: list[Tensor]) -> None:
    import numpy as np
    import torch

    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(on_cpu)
    if on_gpu:
        torch.cuda.set_rng_state_all(on_gpu)
