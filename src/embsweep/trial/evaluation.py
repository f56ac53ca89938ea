"""What one evaluation found: every metric at every dimension, and each query's average precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[int, Mapping[str, float]]
"""Dimension → metric name (`embsweep.names.METRICS`) → mean over the queries, in [0, 1]."""


@dataclass(frozen=True)
class Evaluation:
    """`average_precision[dim]` is float64 [n_queries], in the order of the set's queries; its mean is MAP@100."""

    scores: Scores
    average_precision: Mapping[int, NDArray[np.float64]]
