"""Scale of a sweep: full, or a rehearsal with model, data, sequence length, trials and epochs capped.

A rehearsal keeps the proportions: a dimension of the real model becomes the same share of the small model's, and the
longest schedule of the search space becomes `max_epochs`, so that different points of the space remain different
trials. Batch size and accumulation are capped instead of scaled: with few pairs, the same share of them is too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from embsweep.config import Config
from embsweep.config.data import SplitConfig
from embsweep.config.model import ModelConfig
from embsweep.config.sweep import RehearsalConfig
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
    return tuple(_scale_keys(dict.fromkeys(dims), large, small))


def _scale_keys(by_dim: Mapping[int, Any], large: int, small: int) -> dict[int, Any]:
    """Scale dimensions as `scale_dims` does; of dimensions that merge, the last value is kept."""
    return {max(1, round(dim * small / large)): value for dim, value in by_dim.items()}


def _shrink(config: Config, epoch_factor: float) -> Config:
    caps = config.scale.rehearsal
    large, small = config.model.dim, min(config.model.dim, caps.model.dim)
    train, evaluation, confirm = config.train, config.eval, config.confirm
    dims = config.matryoshka.dims
    weights = config.matryoshka.weights and dict(zip(dims, config.matryoshka.weights, strict=True))
    few = evaluation.fractions is not None and len(evaluation.fractions) <= len(caps.fractions)
    updates: dict[str, dict[str, Any]] = {
        "matryoshka": {
            "dims": scale_dims(dims, large=large, small=small),
            "weights": weights and tuple(_scale_keys(weights, large, small).values()),
        },
        "eval": {
            "dims": scale_dims(config.trial.eval_dims, large=large, small=small),
            "fractions": evaluation.fractions if few else caps.fractions,
            "per_epoch": None,
        },
        "objective": {
            name: _scale_keys(by_dim, large, small)
            for name, by_dim in (
                ("dim_weights", config.objective.dim_weights),
                ("floors", config.objective.floors),
            )
            if by_dim is not None
        },
        "train": {
            "epochs": train.epochs * epoch_factor,
            # Few pairs have to give enough steps to learn from.
            "batch_size": min(train.batch_size, caps.max_batch_size),
            "accumulation": min(train.accumulation, caps.max_accumulation),
            # Use what this machine's hardware supports.
            "precision": "auto",
            "attention": "auto",
        },
        "confirm": {
            "finalists": min(confirm.finalists, caps.max_finalists),
            "seeds": min(confirm.seeds, caps.max_seeds),
            "folds": confirm.folds and min(confirm.folds, caps.max_folds),
        },
        # Its rules stay: a rehearsal's winner has to pass the gate of the full sweep.
        "gate": {"dims": config.gate.dims and scale_dims(config.gate.dims, large=large, small=small)},
        "search": {"trials": min(config.search.trials, caps.max_trials)},
        "data": {
            "max_pairs": min(config.data.max_pairs or caps.max_pairs, caps.max_pairs),
            "split": _enlarge_test(config.data.split, caps.min_test),
        },
        "sweep": {"name": rehearsal_name(config.sweep.name)},
        "tracking": {"registered_model": rehearsal_name(config.tracking.registered_model or config.sweep.name)},
    }
    sections = {name: getattr(config, name).model_copy(update=update) for name, update in updates.items()}
    return config.model_copy(update={"model": _rehearsal_model(config.model, caps), **sections})


def _enlarge_test(split: SplitConfig, min_test: float) -> SplitConfig:
    """Raise the share of the test split to `min_test`, but to no more than half of what validation leaves.

    Few queries detect no gain. A test query costs little: it is evaluated once for each finalist, and never trained on.
    """
    most = (1 - split.validation) / 2
    return split.model_copy(update={"test": max(split.test, min(min_test, most))})


def _rehearsal_model(model: ModelConfig, caps: RehearsalConfig) -> ModelConfig:
    """Return the small model, with the prompts of the configuration; a model's own belong to that model."""
    length = min(model.max_seq_length, caps.model.max_seq_length, caps.max_seq_length)
    chosen = caps.model if model.dim >= caps.model.dim and model.kind == "hub" else model
    given = {} if model.prompts == "auto" else {"prompts": model.prompts, "task": model.task}
    return chosen.model_copy(update={"max_seq_length": length, **given})
