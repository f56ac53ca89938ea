"""How much GPU memory a configuration may take: a rule of thumb to compare configurations by, not a measurement."""

from __future__ import annotations

from embsweep.config import TrialConfig
from embsweep.config.training import ModelConfig

_VOCABULARY = 250_000
"""Tokens of XLM-RoBERTa, whose table is nearly half of bge-m3; an English model has an eighth of them."""

_ADAM = 16
"""Bytes of a float32 weight, its gradient and Adam's two moments."""

_KEPT = 34
"""Bytes that the backward pass needs of a layer for each token and hidden unit in half precision, attention scores
left out (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", eq. 1)."""

_KEPT_INPUT = 2
"""The same where a layer is recomputed: only its input is kept."""


def estimate_bytes(config: TrialConfig, *, gradient_checkpointing: bool) -> int:
    """Bytes of training where every text has `model.max_seq_length` tokens, in bytes; evaluation left out.

    Layers and vocabulary are those that an encoder of this size usually has. The fixed mini-batch of a cached loss
    bounds it; `auto` counts as the whole batch, since it grows as far as it fits.
    """
    model = config.model
    if model.kind == "static":
        return _ADAM * _VOCABULARY * model.dim
    layers = _guess_layers(model)
    weights = _ADAM * (12 * layers * model.dim**2 + _VOCABULARY * model.dim)
    kept = _KEPT_INPUT * layers + _KEPT if gradient_checkpointing else _KEPT * layers
    width = 2 if config.train.precision == "fp32" else 1  # auto: as where the GPU has bf16
    return weights + width * kept * model.dim * _tokens_at_once(config)


def _guess_layers(model: ModelConfig) -> int:
    """BERT's sizes: small, base, large."""
    return 24 if model.dim >= 1024 else 12 if model.dim >= 768 else 6


def _tokens_at_once(config: TrialConfig) -> int:
    """A cached loss holds the graph of one column's mini-batch, the plain one of both columns' whole batch."""
    size = config.loss.mini_batch_size
    rows = 2 * config.train.batch_size if config.loss.name == "mnrl" else config.train.batch_size
    return (min(size, rows) if isinstance(size, int) else rows) * config.model.max_seq_length
