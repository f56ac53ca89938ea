"""Build the base model that a configuration names, and say beforehand whether it can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from embsweep.config.training import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.models.embedded import build_minilm, build_static, check_embedded
from embsweep.models.hub import build_hub, check_hub

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class ModelLoader:
    """What a kind of model owes: `build` allocates it on a device with an attention, `check` is fast, without torch."""

    build: Callable[[ModelConfig, str | None, str | None], SentenceTransformer]
    check: Callable[[ModelConfig], list[Diagnostic]]


KINDS: Mapping[str, ModelLoader] = MappingProxyType(
    {
        "hub": ModelLoader(build_hub, check_hub),
        "minilm": ModelLoader(build_minilm, check_embedded),
        "static": ModelLoader(build_static, check_embedded),
    }
)
"""`model.kind` → how it is built and checked."""


def build_model(cfg: ModelConfig, device: str | None = None, *, attention: str | None = None) -> SentenceTransformer:
    """The base model with float32 weights, inputs cut at `cfg.max_seq_length` tokens, at full dimension.

    Deterministic. Code that comes with a model never runs. `device` None takes the GPU where there is one, `attention`
    None the model's own implementation; a static model has none at all.
    Raises InputError if the model cannot be had (`model.source`, `model.kind`) or does not have `cfg.dim`
    dimensions (`model.dim`).
    """
    model = KINDS[cfg.kind].build(cfg, device, attention)
    model.truncate_dim = None  # a published model may carry one: it would hide dimensions
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
    """Faults that would keep `build_model` from finding the model, in at most some 5 s and without torch."""
    return KINDS[cfg.kind].check(cfg)
