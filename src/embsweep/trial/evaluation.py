"""What one evaluation found: every metric at every dimension, as a mean and for each query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.decide.scores import PerQuery, Scores


@dataclass(frozen=True)
class Evaluation:
    """`per_query[dim][metric]` is float64 [n_queries], in the order of the set's queries; its mean is the score."""

    scores: Scores
    per_query: Mapping[int, Mapping[str, NDArray[np.float64]]]

    def of_metric(self, metric: str) -> PerQuery:
        """One metric of each query, at every dimension."""
        return {dim: by_metric[metric] for dim, by_metric in self.per_query.items()}


__all__ = ["Evaluation", "Scores"]
