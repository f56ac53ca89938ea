"""Device, scratch folder and sizes of a step: full ones for a GPU, tiny ones to run the same code on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NetworkShape:
    """Shape of an XLM-RoBERTa encoder; the default is bge-m3's."""

    layers: int = 24
    hidden: int = 1024
    heads: int = 16
    intermediate: int = 4096
    vocabulary: int = 250_002
    positions: int = 8194


@dataclass(frozen=True)
class SpeedSizes:
    """What the step of bge-m3's shape measures.

    `lengths` are tokens per text, `tokens` those of a training step, `seconds` the time of one measurement; `peak` and
    `evaluation` are batches of texts by tokens whose peak memory is measured.
    """

    shape: NetworkShape = NetworkShape()
    lengths: tuple[int, ...] = (128, 512, 2048)
    tokens: int = 16_384
    seconds: float = 5.0
    peak: tuple[int, int] = (16, 512)
    evaluation: tuple[int, int] = (64, 512)


@dataclass(frozen=True)
class Sizes:
    """Sizes of all steps. `memory_bytes` is what the step that runs out of memory may use."""

    matrix: int = 4096
    pairs: int = 640
    queries: int = 200
    batch: int = 32
    long_batch: int = 512
    long_words: int = 250
    memory_bytes: int = 2 * 2**30
    toy: NetworkShape = NetworkShape(6, 384, 12, 1536, 0, 514)
    speed: SpeedSizes = SpeedSizes()


FULL = Sizes()
TINY = Sizes(
    matrix=64,
    pairs=32,
    queries=16,
    batch=8,
    long_batch=16,
    long_words=20,
    toy=NetworkShape(1, 16, 2, 32, 0, 514),
    speed=SpeedSizes(NetworkShape(1, 16, 2, 32, 100, 80), (8, 16), 64, 0.01, (4, 16), (4, 16)),
)


@dataclass(frozen=True)
class Setup:
    """Where and at which size a step runs.

    Attributes:
        device: `cuda`, or `cpu` to run the same code without a GPU.
        scratch: Empty folder that is removed afterwards.
        sizes: `FULL` or `TINY`.
    """

    device: str
    scratch: Path
    sizes: Sizes = FULL

    @property
    def is_gpu(self) -> bool:
        """Whether the step runs on a GPU."""
        return self.device != "cpu"
