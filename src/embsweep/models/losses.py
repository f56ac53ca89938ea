"""The training loss: a ranking loss at every Matryoshka dimension, each with a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from embsweep.config.training import LossConfig, MatryoshkaConfig
from embsweep.core.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
    from torch import nn


def compute_dim_weights(cfg: MatryoshkaConfig) -> tuple[float, ...]:
    """Compute one weight for each of `cfg.dims`, in their order.

    Explicit `cfg.weights` are used as they are. Otherwise w_d is proportional to (d / D) ** weight_power with D
    the largest of the dims, normalised to mean 1: scaling all weights is equivalent to another learning rate.
    """
    if cfg.weights is not None:
        return cfg.weights
    largest = max(cfg.dims)
    raw = [(dim / largest) ** cfg.weight_power for dim in cfg.dims]
    mean = sum(raw) / len(raw)
    return tuple(weight / mean for weight in raw)


def build_loss(
    cfg: LossConfig, matryoshka: MatryoshkaConfig, model: SentenceTransformer, *, is_shared: bool = False
) -> MatryoshkaLoss:
    """Build the loss `cfg.name` inside a MatryoshkaLoss over all of `matryoshka.dims` at every step.

    Sampling dims (`n_dims_per_step`) is not offered: six dims cost 4 % of a step, and sampling adds noise.

    Args:
        cfg: Configuration of the loss. A `mini_batch_size` of `auto` must have been replaced by a measured size
            (`training/mini_batch.py`).
        matryoshka: Dimensions and their weights.
        model: Model to train. The loss is bound to it: another model needs another loss.
        is_shared: Whether the batch is spread over several processes, which share their in-batch negatives.

    Raises:
        InputError: If cached_mnrl is combined with a static model (`loss.name`).
    """
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    return MatryoshkaLoss(
        model,
        LOSSES[cfg.name](cfg, model, is_shared),
        matryoshka_dims=list(matryoshka.dims),
        matryoshka_weights=list(compute_dim_weights(matryoshka)),
        n_dims_per_step=-1,
    )


def _build_mnrl(cfg: LossConfig, model: SentenceTransformer, is_shared: bool) -> nn.Module:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    return MultipleNegativesRankingLoss(model, scale=cfg.scale, gather_across_devices=is_shared)


def _build_cached_mnrl(cfg: LossConfig, model: SentenceTransformer, is_shared: bool) -> nn.Module:
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    if isinstance(model[0], StaticEmbedding):  # its inputs cannot be split into mini-batches
        raise InputError(
            Diagnostic("conflict", "loss.name", "cannot train a static model", cfg.name, "mnrl", "loss=mnrl")
        )
    assert isinstance(cfg.mini_batch_size, int)  # LossConfig and the trial guarantee it for this loss
    return CachedMultipleNegativesRankingLoss(
        model, scale=cfg.scale, mini_batch_size=cfg.mini_batch_size, gather_across_devices=is_shared
    )


LOSSES: Mapping[str, Callable[[LossConfig, SentenceTransformer, bool], nn.Module]] = MappingProxyType(
    {"mnrl": _build_mnrl, "cached_mnrl": _build_cached_mnrl}
)
"""`loss.name` → function that builds the loss."""
