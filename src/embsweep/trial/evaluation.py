"""What one evaluation found: every metric at every dimension, and each query's average precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.decide.scores import Scores


@dataclass(frozen=True)
class Evaluation:
    """`average_precision[dim]` is float64 [n_queries], in the order of the set's queries; its mean is MAP@100."""

    scores: Scores
    average_precision: Mapping[int, NDArray[np.float64]]


__all__ = ["Evaluation", "Scores"]
