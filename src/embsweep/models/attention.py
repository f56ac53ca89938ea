"""Attention implementations: those of an architecture, the one of a model, and a substitute for flash attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.model import ModelConfig
from embsweep.models.files import find_file, read_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FLASH = "flash_attention_2"
_CONFIGS = ("config.json", "0_Transformer/config.json")


def find_attentions(cfg: ModelConfig, folder: Path | None = None) -> frozenset[str] | None:
    """Return the implementations that a model's architecture supports, or None if this cannot be determined.

    The architecture is built from the model's `config.json` on this machine on torch's meta device, without weights or
    a request to the hub. Empty for a static model.

    Args:
        cfg: Configuration of the model.
        folder: Copy of the model's files; None finds them by `cfg`.
    """
    if cfg.kind == "static":
        return frozenset()
    paths = [path for name in _CONFIGS if (path := find_file(cfg, [name], folder))]
    network = next(filter(None, map(_build_network, paths)), None)
    if network is None:
        return None
    return frozenset({"eager", *(name for name in ("sdpa", FLASH) if _is_supported(network, name))})


def _build_network(path: Path) -> Any | None:
    """Return a network without weights, or None if `path` is no configuration of one; loading the model says why."""
    import torch
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, attn_implementation="eager", trust_remote_code=False
            )
    except Exception:  # each class of model raises others for a configuration that it cannot use
        return None


def _is_supported(network: Any, name: str) -> bool:
    """Return whether the architecture supports an implementation, even if a package or a GPU for it is missing."""
    try:
        network.get_correct_attn_implementation(name, is_init_check=True)
    except ImportError:
        return True
    except ValueError:
        return False
    return True


def read_config(cfg: ModelConfig, folder: Path | None = None) -> dict[str, int]:
    """Return the integers in the `config.json` of a model's architecture on this machine; empty without one.

    Args:
        cfg: Configuration of the model.
        folder: Copy of the model's files; None finds them by `cfg`.
    """
    path = find_file(cfg, _CONFIGS, folder)
    found = read_json(path) if path else {}
    return {name: value for name, value in found.items() if type(value) is int and value > 0}


def read_attention(model: SentenceTransformer) -> str | None:
    """Return the implementation that a loaded model uses, or None if it has no attention."""
    return next(map(_read, _networks(model)), None)


def _read(network: Any) -> str:
    return str(network.model.config._attn_implementation)  # transformers 5.23 has only a public setter


@contextmanager
def float32_attention(model: SentenceTransformer) -> Iterator[None]:
    """Replace flash attention, which has no float32, by sdpa inside (by eager if the architecture has no sdpa).

    For flash attention, sentence-transformers joins the texts of a batch into one sequence; inside they are padded.
    """
    flash = [network for network in _networks(model) if _read(network) == FLASH]
    for network in flash:
        _set_attention(network, "sdpa" if _is_supported(network.model, "sdpa") else "eager")
    try:
        yield
    finally:
        for network in flash:
            _set_attention(network, FLASH)


def _set_attention(network: Any, name: str) -> None:
    network.model.set_attn_implementation(name)
    network.unpad_inputs = network.unpad_inputs  # its setter decides again whether texts are joined


def _networks(model: SentenceTransformer) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Transformer

    return [module for module in model.modules() if isinstance(module, Transformer)]
