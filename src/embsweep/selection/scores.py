"""The scores of one evaluation: every metric at every dimension."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[int, Mapping[str, float]]
"""Dimension → metric name (`embsweep.core.names.METRICS`) → mean over the queries, in [0, 1]."""


PerQuery = Mapping[int, NDArray[np.float64]]
"""Dimension → one metric of each query, float64 [n_queries], in the order of the set's queries."""


def scores_from_json(values: Mapping[str | int, Mapping[str, float]]) -> Scores:
    """Restore scores from JSON, which has no integer keys."""
    return {int(dim): dict(by_metric) for dim, by_metric in values.items()}


def scores_to_json(scores: Scores) -> dict[str, dict[str, float]]:
    """Convert scores to plain JSON, with the dimensions as text."""
    return {str(dim): dict(by_metric) for dim, by_metric in scores.items()}
