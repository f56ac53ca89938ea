"""The objective: one number out of every dimension's scores.

Sampler, stopping, choice of checkpoint and choice of winner all call `compute_objective`, so none of them can
disagree about what is better.
"""

from __future__ import annotations

import math

from embsweep.config.training import ObjectiveConfig
from embsweep.decide.scores import Scores


def compute_objective(scores: Scores, config: ObjectiveConfig) -> float:
    """Weighted mean over the dimensions (all alike by default), or the worst dimension's score.

    NaN where a score that counts is NaN, so that it can be refused: see `is_better`.
    """
    values = {dim: by_metric[config.metric] for dim, by_metric in scores.items()}
    if config.aggregate == "worst":
        return math.nan if any(map(math.isnan, values.values())) else min(values.values())
    weights = config.dim_weights or dict.fromkeys(values, 1.0)
    total = math.fsum(weights.values())
    return math.fsum(weight * values[dim] for dim, weight in weights.items() if weight) / total


def is_better(value: float, best: float | None) -> bool:
    """Whether `value` replaces `best`. A non-finite value never does; an equal one does not: the earlier stays."""
    return math.isfinite(value) and (best is None or value > best)
