"""The objective: one number computed from the scores of every dimension.

Sampler, early stopping, choice of the checkpoint, choice of the winner and gate all call `compute_objective`, so they
agree on which of two models is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.scores import Array, Scores

_ROUNDING = 1e-9
"""A score that is below a requirement by at most this meets it: 0.9 * 0.8 is more than 0.72 in float64."""


def compute_objective(scores: Scores, config: ObjectiveConfig) -> float:
    """Compute the weighted mean over the dimensions (equal weights by default), or the worst dimension's score.

    If a constraint of `config` is violated, the objective is minus the total shortfall instead. It is then below 0, so
    below every model that meets the constraints, and it still orders two violations by size (Deb 2000, "An efficient
    constraint handling method for genetic algorithms"). The objective rises with every score except one: with
    `min_retention`, a higher score of the largest dimension raises the requirement for the others.

    Returns:
        The objective: in [0, 1] if the constraints are met, negative if not, NaN if a score that counts is not finite
        (`is_better` rejects NaN).

    Raises:
        ValueError: If a floor is still "base" (see `resolve_floors`).
        KeyError: If weights or floors name a dimension that has no score.
    """
    by_dim = {dim: np.float64(by_metric[config.metric]) for dim, by_metric in scores.items()}
    return float(compute_objectives(by_dim, config))


def compute_objectives(values: Mapping[int, Array | np.float64], config: ObjectiveConfig) -> Array:
    """Compute `compute_objective` for many evaluations at once.

    `values` maps a dimension to the metric's score in each evaluation. All arrays have one shape, which is also the
    shape of the result.

    Raises:
        ValueError: If a floor is still "base" (see `resolve_floors`).
        KeyError: If weights or floors name a dimension that has no score.
    """
    counted = np.stack([np.asarray(values[dim]) for dim in counted_dims(values, config)])
    with np.errstate(invalid="ignore"):  # infinities become NaN below
        aggregate = _aggregate(values, config)
        shortfall = np.zeros_like(aggregate)
        for missing in _shortfalls(values, config).values():
            shortfall = shortfall + np.where(missing > _ROUNDING, missing, 0.0)
    objective = np.where(shortfall > 0, -shortfall, aggregate)
    return np.where(np.isfinite(counted).all(axis=0), objective, math.nan)


def counted_dims(dims: Iterable[int], config: ObjectiveConfig) -> tuple[int, ...]:
    """Return the dimensions whose scores count if `dims` are measured, from large to small.

    Weights and floors may name a dimension that is not in `dims`; `compute_objective` raises KeyError without it.
    """
    all_count = config.aggregate == "worst" or config.dim_weights is None or config.min_retention is not None
    weighted = [dim for dim, weight in (config.dim_weights or {}).items() if weight]
    return tuple(sorted({*(dims if all_count else ()), *weighted, *(config.floors or {})}, reverse=True))


def is_better(value: float, best: float | None) -> bool:
    """Return whether `value` replaces `best`. A non-finite or an equal value never does: the earlier one is kept."""
    return math.isfinite(value) and (best is None or value > best)


def resolve_floors(config: ObjectiveConfig, base: Scores) -> ObjectiveConfig:
    """Replace each floor that is "base" by the base model's score.

    Raises:
        ValueError: If the base model has no score at the dimension of such a floor.
    """
    if config.floors is None:
        return config
    missing = [dim for dim, floor in config.floors.items() if floor == "base" and dim not in base]
    if missing:
        raise ValueError(f"floor of dimension {missing[0]}: the base model has scores at {sorted(base)} only")
    floors = {dim: base[dim][config.metric] if floor == "base" else floor for dim, floor in config.floors.items()}
    return ObjectiveConfig.model_validate({**config.model_dump(), "floors": floors})


def describe_violations(scores: Scores, config: ObjectiveConfig) -> tuple[str, ...]:
    """Return one line for each violated constraint: dimension, value, required value, shortfall."""
    values = {dim: np.float64(by_metric[config.metric]) for dim, by_metric in scores.items()}
    return tuple(
        f"{config.metric} at dimension {dim} is {values[dim]:.4f}, below {what} {values[dim] + shortfall:.4f} "
        f"by {shortfall:.4f}"
        for (dim, what), shortfall in _shortfalls(values, config).items()
        if shortfall > _ROUNDING
    )


def describe_objective(config: ObjectiveConfig) -> str:
    """Describe the objective in a few words for a headline.

    For example `mean map@100, 1024 at least base, every dimension at least 80 % of the largest`.
    """
    weighted = "weighted " if config.dim_weights else ""
    floors = [f"{dim} at least {floor}" for dim, floor in sorted((config.floors or {}).items(), reverse=True)]
    kept = config.min_retention
    retention = [] if kept is None else [f"every dimension at least {kept * 100:g} % of the largest"]
    return ", ".join([f"{weighted}{config.aggregate} {config.metric}", *floors, *retention])


def _aggregate(values: Mapping[int, Array | np.float64], config: ObjectiveConfig) -> Array:
    """Aggregate in the order of the dimensions, not of the mapping, so that all callers get the same rounding."""
    if config.aggregate == "worst":
        return np.asarray(np.min([values[dim] for dim in sorted(values)], axis=0))
    weights = config.dim_weights or dict.fromkeys(values, 1.0)
    counted = [(weights[dim], np.asarray(values[dim])) for dim in sorted(weights) if weights[dim]]
    total = sum((weight * value for weight, value in counted), start=np.zeros_like(counted[0][1]))
    return np.asarray(total / math.fsum(weight for weight, _ in counted))


def _shortfalls(
    values: Mapping[int, Array | np.float64], config: ObjectiveConfig
) -> dict[tuple[int, str], Array | np.float64]:
    """Map (dimension, constraint) to the shortfall of the score; negative if the constraint is met."""
    found: dict[tuple[int, str], Array | np.float64] = {}
    for dim, floor in sorted((config.floors or {}).items()):
        if floor == "base":
            raise ValueError(f"floor of dimension {dim} is 'base': call resolve_floors first")
        found[dim, "its floor"] = floor - values[dim]
    if config.min_retention is not None:
        largest = max(values)
        required = config.min_retention * values[largest]
        what = f"{config.min_retention * 100:g} % of dimension {largest}'s, that is"
        found |= {(dim, what): required - values[dim] for dim in sorted(values) if dim != largest}
    return found
