"""Estimate the GPU memory of a trial from its configuration.

A rule of thumb, to compare configurations and to choose gradient checkpointing before anything runs; where there is a
GPU, `training/gpu_memory.py` measures.
"""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.config import TrialConfig
from embsweep.config.model import ModelConfig
from embsweep.models.attention import read_config

CONTEXT_BYTES = 2**29
"""Memory of a process's CUDA context, which torch does not count: 0.3 to 0.6 GiB with its libraries."""

MAX_FILL_RATIO = 0.9
"""Share of a GPU's memory that may be planned for: an allocator leaves gaps."""

_VOCABULARY = 250_000
"""Vocabulary size of XLM-RoBERTa, in tokens, for a model whose `config.json` is not on this machine."""

_ADAM = 16
"""Bytes per weight: float32 weight, gradient and Adam's two moments."""

_CAST = 2
"""Bytes per weight of a layer that autocast keeps in half precision until the end of the step."""

_KEPT = 34
"""Bytes that a layer keeps for the backward pass per token and hidden unit, in half precision.

Without attention scores (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
eq. 1).
"""

_KEPT_INPUT = 2
"""The same if the layer is recomputed: only its input is kept."""

_EVALUATED = 48
"""Bytes per token and hidden unit of one layer in an evaluation: input, query, key, value, and the feed-forward part
before and after its activation (four times as wide), in float32."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated bytes of a trial on a GPU if every text has `model.max_seq_length` tokens.

    `fixed` is taken whatever the texts are: CUDA's context, weights, gradients and Adam's moments. `activations` are
    those of a training step, `evaluated` those of one batch of an evaluation, which halves its batch if that is too
    much.
    """

    fixed: int
    activations: int
    evaluated: int

    @property
    def training(self) -> int:
        """Peak of a training step, in bytes."""
        return self.fixed + self.activations

    @property
    def evaluation(self) -> int:
        """Peak of an evaluation with `eval.batch_size`, in bytes; embeddings are not counted."""
        return self.fixed + self.evaluated


def estimate_memory(config: TrialConfig, precision: str, *, gradient_checkpointing: bool) -> MemoryEstimate:
    """Estimate the memory of a trial.

    Layers and vocabulary are those of the model's `config.json`; without one, the usual number of layers for an encoder
    of this size and the vocabulary of XLM-RoBERTa. A fixed mini-batch size of a cached loss limits the estimate; `auto`
    counts as the whole batch, since the mini-batch grows as long as it fits.

    Args:
        config: The configuration.
        precision: The resolved precision: fp32, bf16 or fp16.
        gradient_checkpointing: Whether activations are recomputed.
    """
    model = config.model
    sizes = read_config(model)
    embedded = sizes.get("vocab_size", _VOCABULARY) * model.dim
    if model.kind == "static":
        return MemoryEstimate(CONTEXT_BYTES + _ADAM * embedded, 0, 0)
    layers = sizes.get("num_hidden_layers", _guess_layers(model))
    layered = 12 * layers * model.dim**2
    width, cast = (2, 0) if precision == "fp32" else (1, _CAST)
    kept = _KEPT_INPUT * layers + _KEPT if gradient_checkpointing else _KEPT * layers
    return MemoryEstimate(
        CONTEXT_BYTES + _ADAM * (layered + embedded),
        cast * layered + width * kept * model.dim * _tokens_at_once(config),
        _EVALUATED * model.dim * config.eval.batch_size * model.max_seq_length,
    )


def _guess_layers(model: ModelConfig) -> int:
    """Return the usual number of layers by hidden size: BERT large, base or small."""
    return 24 if model.dim >= 1024 else 12 if model.dim >= 768 else 6


def _tokens_at_once(config: TrialConfig) -> int:
    """Return the number of tokens whose graph is held at once.

    A cached loss holds the graph of one column's mini-batch, the plain loss that of both columns' whole batch.
    """
    size = config.loss.mini_batch_size
    rows = 2 * config.train.batch_size if config.loss.name == "mnrl" else config.train.batch_size
    return (min(size, rows) if isinstance(size, int) else rows) * config.model.max_seq_length
