"""Scale of a sweep: full, or a rehearsal with model, data, sequence length, trials and epochs capped.

A rehearsal keeps the proportions: a dimension of the real model becomes the same share of the small model's, and the
longest schedule of the search space becomes `max_epochs`, so that different points of the space remain different
trials. Batch size and accumulation are capped instead of scaled: with few pairs, the same share of them is too small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from embsweep.config import Config
from embsweep.config.sweep import ConfirmConfig, GateConfig, RehearsalConfig
from embsweep.config.training import EvalConfig, MatryoshkaConfig, ModelConfig, ObjectiveConfig, TrainConfig
from embsweep.core.names import rehearsal_name


@dataclass(frozen=True)
class Rehearsal:
    """Scaling of a sweep's configurations, applied before anything runs."""

    is_rehearsal: bool
    epoch_factor: float = 1.0

    def apply(self, config: Config) -> Config:
        """Return the configuration that is actually run."""
        return _shrink(config, self.epoch_factor) if self.is_rehearsal else config


def plan_rehearsal(mode: str, *, has_gpu: bool, longest_epochs: float, caps: RehearsalConfig) -> Rehearsal:
    """Decide whether a sweep runs at full scale or as a rehearsal.

    Args:
        mode: `full`, `rehearsal`, or `auto`, which is a rehearsal if there is no GPU.
        has_gpu: Whether a GPU is available.
        longest_epochs: Epochs of the longest schedule in the whole search space.
        caps: Limits of a rehearsal.
    """
    if mode == "full" or (mode == "auto" and has_gpu):
        return Rehearsal(is_rehearsal=False)
    return Rehearsal(is_rehearsal=True, epoch_factor=min(1.0, caps.max_epochs / longest_epochs))


def scale_dims(dims: Iterable[int], *, large: int, small: int) -> tuple[int, ...]:
    """Convert dimensions of a large model into the same shares of a small one.

    Args:
        dims: Dimensions of the large model, from large to small.
        large: Full dimension of the large model.
        small: Full dimension of the small model.

    Returns:
        Dimensions of at least 1, from large to small; shares that round to the same dimension are merged.
    """
    scaled = (max(1, round(dim * small / large)) for dim in dims)
    return tuple(dict.fromkeys(scaled))


def _shrink(config: Config, epoch_factor: float) -> Config:
    caps = config.scale.rehearsal
    large, small = config.model.dim, min(config.model.dim, caps.model.dim)
    search, data = config.search, config.data
    name = config.tracking.registered_model or config.sweep.name
    return config.model_copy(
        update={
            "model": _rehearsal_model(config.model, caps),
            "matryoshka": _scale_matryoshka(config.matryoshka, large, small),
            "eval": _scale_eval(config.eval, caps, config.trial.eval_dims, large, small),
            "objective": _scale_objective(config.objective, large, small),
            "train": _scale_train(config.train, caps, epoch_factor),
            "confirm": _scale_confirm(config.confirm, caps),
            "gate": _scale_gate(config.gate, caps, large, small),
            "search": search.model_copy(update={"trials": min(search.trials, caps.max_trials)}),
            "data": data.model_copy(update={"max_pairs": min(data.max_pairs or caps.max_pairs, caps.max_pairs)}),
            "sweep": config.sweep.model_copy(update={"name": rehearsal_name(config.sweep.name)}),
            "tracking": config.tracking.model_copy(update={"registered_model": rehearsal_name(name)}),
        }
    )


def _rehearsal_model(model: ModelConfig, caps: RehearsalConfig) -> ModelConfig:
    length = min(model.max_seq_length, caps.model.max_seq_length, caps.max_seq_length)
    chosen = caps.model if model.dim >= caps.model.dim and model.kind == "hub" else model
    return chosen.model_copy(update={"max_seq_length": length})


def _scale_train(config: TrainConfig, caps: RehearsalConfig, epoch_factor: float) -> TrainConfig:
    """Cap batches, so that few pairs give enough steps to learn from; use what this machine's hardware supports."""
    return config.model_copy(
        update={
            "epochs": config.epochs * epoch_factor,
            "batch_size": min(config.batch_size, caps.max_batch_size),
            "accumulation": min(config.accumulation, caps.max_accumulation),
            "precision": "auto",
            "attention": "auto",
        }
    )


def _scale_matryoshka(config: MatryoshkaConfig, large: int, small: int) -> MatryoshkaConfig:
    dims = scale_dims(config.dims, large=large, small=small)
    weights = config.weights
    if weights is not None:
        by_dim = {max(1, round(d * small / large)): w for d, w in zip(config.dims, weights, strict=True)}
        weights = tuple(by_dim[dim] for dim in dims)
    return config.model_copy(update={"dims": dims, "weights": weights})


def _scale_eval(config: EvalConfig, caps: RehearsalConfig, dims: tuple[int, ...], large: int, small: int) -> EvalConfig:
    few = config.fractions is not None and len(config.fractions) <= len(caps.fractions)
    fractions = config.fractions if few else caps.fractions
    scaled = scale_dims(dims, large=large, small=small)
    return config.model_copy(update={"dims": scaled, "fractions": fractions, "per_epoch": None})


def _scale_objective(config: ObjectiveConfig, large: int, small: int) -> ObjectiveConfig:
    by_dim = {"dim_weights": config.dim_weights, "floors": config.floors}
    return config.model_copy(
        update={
            name: {max(1, round(dim * small / large)): value for dim, value in values.items()}
            for name, values in by_dim.items()
            if values is not None
        }
    )


def _scale_gate(config: GateConfig, caps: RehearsalConfig, large: int, small: int) -> GateConfig:
    dims = config.dims and scale_dims(config.dims, large=large, small=small)
    return config.model_copy(
        update={"dims": dims, "against_base": caps.gate_rule, "against_champion": caps.gate_rule, "margin": 0.0}
    )


def _scale_confirm(config: ConfirmConfig, caps: RehearsalConfig) -> ConfirmConfig:
    folds = config.folds and min(config.folds, caps.max_folds)
    finalists, seeds = min(config.finalists, caps.max_finalists), min(config.seeds, caps.max_seeds)
    return config.model_copy(update={"finalists": finalists, "seeds": seeds, "folds": folds})
