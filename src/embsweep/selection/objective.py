"""The objective: one number out of every dimension's scores.

Sampler, stopping, choice of checkpoint, choice of winner and gate all call `compute_objective`, so none of them can
disagree about what is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.scores import Scores

Array = NDArray[np.float64]

_ROUNDING = 1e-9
"""A score this little below what is asked meets it: 0.9 * 0.8 is more than 0.72 in float64."""


def compute_objective(scores: Scores, config: ObjectiveConfig) -> float:
    """Weighted mean over the dimensions (all alike by default), or the worst dimension's score, in [0, 1].

    Where a constraint of `config` is violated it is minus the total shortfall instead. That is below 0 and so below
    whatever keeps the constraints, and it still says which of two violations is the smaller (Deb 2000, "An efficient
    constraint handling method for genetic algorithms"). It rises with every score but one: with `min_retention` a
    better largest dimension asks more of the others.

    NaN where a score that counts is not finite, so that it can be refused: see `is_better`. ValueError where a floor
    still says "base" (see `resolve_floors`), KeyError where weights or floors name a dimension that has no score.
    """
    by_dim = {dim: np.float64(by_metric[config.metric]) for dim, by_metric in scores.items()}
    return float(compute_objectives(by_dim, config))


def compute_objectives(values: Mapping[int, Array | np.float64], config: ObjectiveConfig) -> Array:
    """`compute_objective` of many evaluations at once.

    `values` is dimension → the metric's score in each evaluation, all of one shape, which is the result's.
    """
    counted = np.stack([np.asarray(values[dim]) for dim in counted_dims(values, config)])
    with np.errstate(invalid="ignore"):  # infinities, refused below
        aggregate = _aggregate(values, config)
        shortfall = np.zeros_like(aggregate)
        for missing in _shortfalls(values, config).values():
            shortfall = shortfall + np.where(missing > _ROUNDING, missing, 0.0)
    objective = np.where(shortfall > 0, -shortfall, aggregate)
    return np.where(np.isfinite(counted).all(axis=0), objective, math.nan)


def counted_dims(dims: Iterable[int], config: ObjectiveConfig) -> tuple[int, ...]:
    """The dimensions whose scores count where `dims` are measured, from large to small.

    Weights and floors may name a dimension that is not among `dims`: `compute_objective` cannot do without it.
    """
    found = tuple(dims)
    all_count = config.aggregate == "worst" or config.dim_weights is None or config.min_retention is not None
    weighted = [dim for dim, weight in (config.dim_weights or {}).items() if weight]
    return tuple(sorted({*(found if all_count else ()), *weighted, *(config.floors or {})}, reverse=True))


def is_better(value: float, best: float | None) -> bool:
    """Whether `value` replaces `best`. A non-finite value never does; an equal one does not: the earlier stays."""
    return math.isfinite(value) and (best is None or value > best)


def resolve_floors(config: ObjectiveConfig, base: Scores) -> ObjectiveConfig:
    """The configuration with the base model's scores where floors say "base". ValueError where it has no such score."""
    if config.floors is None:
        return config
    missing = [dim for dim, floor in config.floors.items() if floor == "base" and dim not in base]
    if missing:
        raise ValueError(f"floor of dimension {missing[0]}: the base model has scores at {sorted(base)} only")
    floors = {dim: base[dim][config.metric] if floor == "base" else floor for dim, floor in config.floors.items()}
    return ObjectiveConfig.model_validate({**config.model_dump(), "floors": floors})


def describe_violations(scores: Scores, config: ObjectiveConfig) -> tuple[str, ...]:
    """One line for each violated constraint: dimension, value, what was asked, by how much it is missed."""
    values = {dim: np.float64(by_metric[config.metric]) for dim, by_metric in scores.items()}
    return tuple(
        f"{config.metric} at dimension {dim} is {values[dim]:.4f}, below {what} {values[dim] + shortfall:.4f} "
        f"by {shortfall:.4f}"
        for (dim, what), shortfall in _shortfalls(values, config).items()
        if shortfall > _ROUNDING
    )


def describe_objective(config: ObjectiveConfig) -> str:
    """Short text for headlines: `mean map@100, 1024 at least base, every dimension at least 80 % of the largest`."""
    weighted = "weighted " if config.dim_weights else ""
    floors = [f"{dim} at least {floor}" for dim, floor in sorted((config.floors or {}).items(), reverse=True)]
    kept = config.min_retention
    retention = [] if kept is None else [f"every dimension at least {kept * 100:g} % of the largest"]
    return ", ".join([f"{weighted}{config.aggregate} {config.metric}", *floors, *retention])


def _aggregate(values: Mapping[int, Array | np.float64], config: ObjectiveConfig) -> Array:
    """Summed in the order of the dimensions, not of the mapping: rounding must not depend on who asks."""
    if config.aggregate == "worst":
        return np.asarray(np.min([values[dim] for dim in sorted(values)], axis=0))
    weights = config.dim_weights or dict.fromkeys(values, 1.0)
    counted = [(weights[dim], np.asarray(values[dim])) for dim in sorted(weights) if weights[dim]]
    total = sum((weight * value for weight, value in counted), start=np.zeros_like(counted[0][1]))
    return np.asarray(total / math.fsum(weight for weight, _ in counted))


def _shortfalls(
    values: Mapping[int, Array | np.float64], config: ObjectiveConfig
) -> dict[tuple[int, str], Array | np.float64]:
    """(Dimension, constraint) → how far its score lies below what is asked; negative where it is kept."""
    found: dict[tuple[int, str], Array | np.float64] = {}
    for dim, floor in sorted((config.floors or {}).items()):
        if floor == "base":
            raise ValueError(f"floor of dimension {dim} says 'base': resolve_floors first")
        found[dim, "its floor"] = floor - values[dim]
    if config.min_retention is not None:
        largest = max(values)
        asked = config.min_retention * values[largest]
        what = f"{config.min_retention * 100:g} % of dimension {largest}'s, that is"
        found |= {(dim, what): asked - values[dim] for dim in sorted(values) if dim != largest}
    return found
