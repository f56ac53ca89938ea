"""Attention implementations: which of them a model's architecture has, which one a model uses, and a way around one."""

from __future__ import annotations

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
    """What the architecture of a model that is on this machine can do; None where that cannot be told.

    Read off its `config.json` without loading weights; the hub is not asked. Empty for a static model.
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
        except (OSError, ValueError, KeyError):  # no configuration there, or of an architecture without a class
            continue
    return None


def _places(cfg: ModelConfig) -> list[str]:
    if cfg.kind == "hub":
        folder = find_folder(cfg)
        return [str(Path(folder, module)) for module in _FIRST_MODULES] if folder else [str(cfg.source)]
    weights = locate_weights()
    return [str(weights.parent)] if weights else []


def _read_support(architecture: Any) -> frozenset[str]:
    """The flags of transformers; every architecture has eager."""
    flags = {"sdpa": "_supports_sdpa", _FLASH: "_supports_flash_attn"}
    return frozenset({"eager", *(name for name, flag in flags.items() if getattr(architecture, flag, False))})


def read_attention(model: SentenceTransformer) -> str | None:
    """The implementation that a loaded model uses; None where it has no attention."""
    for network in _networks(model):
        return str(network.model.config._attn_implementation)
    return None


@contextmanager
def float32_attention(model: SentenceTransformer) -> Iterator[None]:
    """Inside, sdpa in place of flash attention, which has no float32 (eager where the architecture has no sdpa).

    sentence-transformers joins the texts of a batch into one sequence for flash attention; inside they are padded.
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
    """Not by `set_attn_implementation`: on the way back there is nothing to check."""
    network.model.config._attn_implementation = name
    network.unpad_inputs = network.unpad_inputs  # its setter decides anew whether texts are joined


def _networks(model: SentenceTransformer) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Transformer

    return [module for module in model.modules() if isinstance(module, Transformer)]
