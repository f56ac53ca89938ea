"""The scores of one evaluation: every metric at every dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[int, Mapping[str, float]]
"""Dimension → metric name (`embsweep.core.names.METRICS`) → mean over the queries, in [0, 1]."""


Array = NDArray[np.float64]
PerQuery = Mapping[int, Array]
"""Dimension → one metric of each query, float64 [n_queries], in the order of the set's queries."""


def find_largest_difference(recorded: Scores, found: Scores) -> tuple[float, int, str]:
    """Return the largest difference between a recorded score and the one found, with its dimension and metric.

    NaN counts as infinite, because it would pass every comparison.
    """
    differences = [
        (gap if math.isfinite(gap := abs(found[dim][metric] - value)) else math.inf, dim, metric)
        for dim, by_metric in recorded.items()
        for metric, value in by_metric.items()
    ]
    return max(differences, key=lambda difference: difference[0])


def scores_from_json(values: Mapping[str | int, Mapping[str, float]]) -> Scores:
    """Restore scores from JSON, which has no integer keys."""
    return {int(dim): dict(by_metric) for dim, by_metric in values.items()}


def scores_to_json(scores: Scores) -> dict[str, dict[str, float]]:
    """Convert scores to plain JSON, with the dimensions as text."""
    return {str(dim): dict(by_metric) for dim, by_metric in scores.items()}
