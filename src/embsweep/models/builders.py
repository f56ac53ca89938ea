"""Construction of the base model that a configuration names, and a preliminary check that it is available."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from embsweep.config.model import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.models.embedded import (
    build_minilm,
    build_minilm_3_layers,
    build_static,
    check_embedded,
    fetch_embedded,
)
from embsweep.models.hub import build_hub, check_hub, fetch_hub
from embsweep.models.prompts import apply_prompts
from embsweep.models.usage import apply_pooling, check_usage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class ModelLoader:
    """Functions of a kind of model.

    `build` allocates it on a device, with an attention, from a copy of its files; `check` is fast and needs no torch;
    `fetch` returns the folder of its files.
    """

    build: Callable[[ModelConfig, str | None, str | None, Path | None], SentenceTransformer]
    check: Callable[[ModelConfig], list[Diagnostic]]
    fetch: Callable[[ModelConfig], Path]


KINDS: Mapping[str, ModelLoader] = MappingProxyType(
    {
        "hub": ModelLoader(build_hub, check_hub, fetch_hub),
        "minilm": ModelLoader(build_minilm, check_embedded, fetch_embedded),
        "minilm_3_layers": ModelLoader(build_minilm_3_layers, check_embedded, fetch_embedded),
        "static": ModelLoader(build_static, check_embedded, fetch_embedded),
    }
)
"""`model.kind` → its functions."""


def build_model(
    cfg: ModelConfig, device: str | None = None, *, attention: str | None = None, folder: Path | None = None
) -> SentenceTransformer:
    """Build the base model: float32 weights, full dimension, inputs truncated at `cfg.max_seq_length` tokens.

    The result is deterministic. Code that comes with a model never runs. `model.prompts` has the prompts that are used
    (`models/prompts.py`): training, evaluation and the saved model take them from there.

    Args:
        cfg: Configuration of the model.
        device: Device of the weights; None takes the GPU if there is one.
        attention: Attention implementation; None keeps the model's own. Ignored by a static model, which has none.
        folder: Copy of the model's files (`models/copies.py`); None finds them by `cfg`.

    Raises:
        InputError: If the model is not available (`model.source`, `model.kind`), does not have `cfg.dim` dimensions
            (`model.dim`), or its files do not say how it is used (`model.prompts`, `model.task`, `model.pooling`).
    """
    model = KINDS[cfg.kind].build(cfg, device, attention, folder)
    if diagnostics := check_usage(cfg, folder):  # again: a model of the hub had no files here before
        raise InputError(diagnostics)
    apply_pooling(model, cfg, folder)
    apply_prompts(model, cfg)
    model.truncate_dim = None  # a published model may have one: it would hide dimensions
    found = model.get_embedding_dimension()
    if found != cfg.dim:
        raise InputError(
            Diagnostic(
                "wrong-dim",
                "model.dim",
                f"model '{cfg.name}' has {found} dimensions",
                cfg.dim,
                str(found),
                f"model.dim={found}",
            )
        )
    model.float()
    return model


def check_model(cfg: ModelConfig) -> list[Diagnostic]:
    """Return diagnostics if `build_model` would refuse the model; in at most about 5 s, without torch."""
    return KINDS[cfg.kind].check(cfg) or check_usage(cfg)
