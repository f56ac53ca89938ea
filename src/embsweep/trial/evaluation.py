"""What one evaluation found: every metric at every dimension, as a mean and for each query."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.decide.scores import PerQuery, Scores
from embsweep.errors import TrialFailed


@dataclass(frozen=True)
class Evaluation:
    """`per_query[dim][metric]` is float64 [n_queries], in the order of the set's queries; its mean is the score."""

    scores: Scores
    per_query: Mapping[int, Mapping[str, NDArray[np.float64]]]

    def of_metric(self, metric: str) -> PerQuery:
        """One metric of each query, at every dimension."""
        return {dim: by_metric[metric] for dim, by_metric in self.per_query.items()}


def check_scores(scores: Scores, metric: str, dims: Collection[int] | None = None) -> None:
    """TrialFailed where `metric` is missing at one of `dims` (None: those of `scores`), or any value is no number.

    A dimension that is left out would not be missed by a mean over the others.
    """
    for dim in scores if dims is None else dims:
        if metric not in scores.get(dim, {}):
            raise TrialFailed("missing-score", f"the evaluation has no {metric} at dimension {dim}")
    values = [(name, dim, value) for dim, by_metric in scores.items() for name, value in by_metric.items()]
    for name, dim, value in sorted(values, key=lambda found: found[0] != metric):  # the one that counts is told first
        if not math.isfinite(value):
            raise TrialFailed("not-finite", f"{name} at dimension {dim} is {value}")


__all__ = ["Evaluation", "Scores"]
