"""Step on speed and memory of bge-m3's shape, with random weights: training at several lengths, and the evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embsweep.config.training import LossConfig, MatryoshkaConfig
from embsweep.core.gpu_errors import is_out_of_memory
from embsweep.core.gpus import inspect_accelerator
from embsweep.doctor.facts import describe_bytes
from embsweep.doctor.material import AUTO, build_network, replace_network, write_toy_model
from embsweep.doctor.setup import Setup, SpeedSizes
from embsweep.doctor.speed import count_operations, find_peak
from embsweep.doctor.verdicts import require
from embsweep.models.attention import float32_attention
from embsweep.models.losses import build_loss
from embsweep.training.hardware import resolve_hardware
from embsweep.training.memory import peak_bytes, release_memory, reset_peak

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

_WARM_UP = 2
_DIMS = (8, 6, 4, 3, 2, 1)
"""Trained dimensions, in eighths of the model's: about as many as bge-m3's six."""


def check_speed(setup: Setup) -> str:
    """Measure training and evaluation. Out of memory is a figure too.

    The step fails if a loss is not finite, or if the cached loss or recomputed activations save no memory.
    """
    bench = Bench(setup)
    figures = [bench.title, *(bench.describe_training(length) for length in setup.sizes.speed.lengths)]
    plain, *others = (bench.measure_peak(*variant) for variant in _VARIANTS)
    figures += [found.text for found in (plain, *others)] + [bench.describe_evaluation()]
    for found in others:
        is_smaller = None in (plain.bytes, found.bytes) or (found.bytes or 0) < (plain.bytes or 0)
        require(is_smaller, "\n".join([*figures, f"not less than without: {found.text}"]))
    require(bench.is_finite, "\n".join([*figures, "the loss is not finite"]))
    return "\n".join(figures)


@dataclass(frozen=True)
class Peak:
    """A peak of memory in bytes, None without a GPU or if memory ran out, and its line."""

    text: str
    bytes: int | None


_VARIANTS = (("mnrl", False), ("cached_mnrl", False), ("mnrl", True))
"""Loss, and whether activations are recomputed, of the measured peaks."""


class Bench:
    """A model of bge-m3's shape on the device with its optimizer, and the measurements on it."""

    def __init__(self, setup: Setup) -> None:
        import torch

        self._setup = setup
        self._sizes: SpeedSizes = setup.sizes.speed
        machine = inspect_accelerator()
        self._precision = resolve_hardware(AUTO, machine).precision
        self._peak = find_peak(machine.name) if self._precision == "bf16" else None
        self._model = _build_model(setup)
        self._losses: list[torch.Tensor] = []
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-6, fused=True)
        count = sum(weight.numel() for weight in self._model.parameters()) / 1e6
        self.title = f"{count:,.0f} M weights, {self._precision}, {machine.name}"

    @property
    def is_finite(self) -> bool:
        """Whether every loss so far was finite."""
        return all(math.isfinite(float(loss)) for loss in self._losses)

    def describe_training(self, length: int) -> str:
        """Train with the plain loss on texts of `length` tokens; return tokens per second and the share of the peak."""
        pairs = max(2, self._sizes.tokens // (2 * length))
        step = self._make_step("mnrl", pairs, length)
        seconds = self._try(lambda: self._time(step))
        if seconds is None:
            return f"{2 * pairs} texts of {length}: out of memory"
        rate = 2 * pairs * length / seconds
        used = rate * count_operations(self._sizes.shape, length)
        share = f", {100 * used / self._peak:.0f} % of the peak" if self._peak else ""
        return f"training, {length} tokens: {rate:,.0f} tokens/s ({used / 1e12:,.1f} TFLOP/s{share})"

    def measure_peak(self, loss: str, recompute: bool) -> Peak:
        """Train two steps of the batch of pairs; return the peak of memory."""
        pairs, length = self._sizes.peak
        network: Any = self._model[0]
        switch = "gradient_checkpointing_enable" if recompute else "gradient_checkpointing_disable"
        getattr(network.model, switch)()
        step = self._make_step(loss, pairs, length)
        reset_peak()
        done = self._try(lambda: (step(), step()))
        network.model.gradient_checkpointing_disable()
        name = f"{loss}{', activations recomputed' if recompute else ''}, {pairs} pairs of {length} tokens"
        if done is None:
            return Peak(f"{name}: out of memory", None)
        return Peak(f"{name}: {_describe_peak()}", peak_bytes())

    def describe_evaluation(self) -> str:
        """Encode a batch in float32 as evaluations do; return tokens per second and the peak of memory."""
        import torch

        texts, length = self._sizes.evaluation
        self._model.eval()
        self._optimizer.zero_grad(set_to_none=True)
        batch = self._make_batch(texts, length)

        def encode() -> None:
            with torch.inference_mode(), float32_attention(self._model):
                self._model(dict(batch))

        reset_peak()
        seconds = self._try(lambda: self._time(encode))
        if seconds is None:
            return f"evaluation, {texts} texts of {length}: out of memory"
        return f"evaluation, {texts} texts of {length}: {texts * length / seconds:,.0f} tokens/s, {_describe_peak()}"

    def _make_step(self, loss: str, pairs: int, length: int) -> Callable[[], object]:
        """Return a training step on random tokens."""
        size = max(1, pairs // 4) if loss == "cached_mnrl" else None
        config = LossConfig.model_validate({"name": loss, "mini_batch_size": size})
        dims = tuple(self._sizes.shape.hidden * part // 8 for part in _DIMS)
        module = build_loss(config, MatryoshkaConfig(dims=dims), self._model)
        columns = [self._make_batch(pairs, length) for _ in range(2)]

        def step() -> None:
            self._model.train()
            with self._autocast():
                value = module([dict(column) for column in columns], None)
            value.backward()
            self._losses.append(value.detach())
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

        return step

    def _make_batch(self, texts: int, length: int) -> dict[str, torch.Tensor]:
        import torch

        tokens = torch.randint(4, self._sizes.shape.vocabulary, (texts, length), device=self._setup.device)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def _autocast(self) -> AbstractContextManager[object]:
        import torch

        return torch.autocast(self._setup.device, torch.bfloat16, enabled=self._precision == "bf16")

    def _time(self, work: Callable[[], object]) -> float:
        """Return the seconds of one call, as the mean of as many as fit into the time."""
        for _ in range(_WARM_UP):
            work()
        count, clock = 0, self._synchronised()
        while count == 0 or self._synchronised() - clock < self._sizes.seconds:
            work()
            count += 1
        return (self._synchronised() - clock) / count

    def _synchronised(self) -> float:
        """Return the time once the device is idle."""
        import torch

        if self._setup.is_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _try(self, work: Callable[[], Any]) -> Any:
        """Return the result, or None if memory ran out."""
        try:
            result = work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            result = None
        self._optimizer.zero_grad(set_to_none=True)  # after the except block, because the traceback holds the tensors
        release_memory()
        return result


def _describe_peak() -> str:
    peak = peak_bytes()
    return "no GPU memory" if peak is None else f"peak {describe_bytes(peak)}"


def _build_model(setup: Setup) -> SentenceTransformer:
    """Return the model with random weights, built on the device: on a CPU, initialising it would take longer."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = write_toy_model(setup.scratch / "toy", setup.sizes.toy)
    model = SentenceTransformer(str(folder), device=setup.device, local_files_only=True)
    with torch.device(setup.device):
        network = build_network(setup.sizes.speed.shape)
    return replace_network(model, network)
