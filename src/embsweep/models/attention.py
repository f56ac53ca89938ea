"""Attention implementations: those of an architecture, the one of a model, and a substitute for flash attention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.training import ModelConfig
from embsweep.models.embedded import locate_weights
from embsweep.models.hub import find_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_FIRST_MODULES = ("", "0_Transformer")
_FLASH = "flash_attention_2"


def find_attentions(cfg: ModelConfig) -> frozenset[str] | None:
    """Return the implementations that a model's architecture supports, or None if this cannot be determined.

    They are derived from the model's `config.json` on this machine, without loading weights or a request to the hub.
    Empty for a static model.
    """
    from transformers import MODEL_MAPPING, AutoConfig

    if cfg.kind == "static":
        return frozenset()
    for place in _places(cfg):
        try:
            config = AutoConfig.from_pretrained(
                place, revision=cfg.revision, local_files_only=True, trust_remote_code=False
            )
            return _read_support(MODEL_MAPPING[type(config)])
        except (OSError, ValueError, KeyError):  # no configuration there, or its architecture has no class
            continue
    return None


def read_config(cfg: ModelConfig) -> dict[str, int]:
    """Return the integers in the `config.json` of a model's architecture on this machine; empty without one."""
    for place in _places(cfg):
        try:
            found = json.loads(Path(place, "config.json").read_text("utf-8"))
            return {name: value for name, value in found.items() if type(value) is int and value > 0}
        except (OSError, ValueError, AttributeError):  # no such file, or it holds no object
            continue
    return {}


def _places(cfg: ModelConfig) -> list[str]:
    if cfg.kind == "hub":
        folder = find_folder(cfg)
        return [str(Path(folder, module)) for module in _FIRST_MODULES] if folder else [str(cfg.source)]
    weights = locate_weights()
    return [str(weights.parent)] if weights else []


def _read_support(architecture: Any) -> frozenset[str]:
    """Return what transformers' flags declare; every architecture supports eager."""
    flags = {"sdpa": "_supports_sdpa", _FLASH: "_supports_flash_attn"}
    return frozenset({"eager", *(name for name, flag in flags.items() if getattr(architecture, flag, False))})


def read_attention(model: SentenceTransformer) -> str | None:
    """Return the implementation that a loaded model uses, or None if it has no attention."""
    for network in _networks(model):
        return str(network.model.config._attn_implementation)
    return None


@contextmanager
def float32_attention(model: SentenceTransformer) -> Iterator[None]:
    """Replace flash attention, which has no float32, by sdpa inside (by eager if the architecture has no sdpa).

    For flash attention, sentence-transformers joins the texts of a batch into one sequence; inside they are padded.
    """
    flash = [network for network in _networks(model) if network.model.config._attn_implementation == _FLASH]
    for network in flash:
        _set_attention(network, "sdpa" if getattr(network.model, "_supports_sdpa", False) else "eager")
    try:
        yield
    finally:
        for network in flash:
            _set_attention(network, _FLASH)


def _set_attention(network: Any, name: str) -> None:
    """Set the attribute itself: `set_attn_implementation` checks the name, which restoring it does not need."""
    network.model.config._attn_implementation = name
    network.unpad_inputs = network.unpad_inputs  # its setter decides again whether texts are joined


def _networks(model: SentenceTransformer) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Transformer

    return [module for module in model.modules() if isinstance(module, Transformer)]
