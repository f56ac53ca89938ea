"""Input of the promotion gate: evidence, rule, and new evaluations of challenger, base model and champion."""

from __future__ import annotations

from dataclasses import dataclass, field

from embsweep.config.sweep import GateConfig
from embsweep.selection.evidence import Evidence
from embsweep.selection.scores import PerQuery, Scores


@dataclass(frozen=True)
class ModelEvaluation:
    """Evaluation of one model on the test set in a fresh process; `reason_missing` says why there is none.

    `values` holds the objective's metric of each query at every dimension that the model has, at most `dim`.
    `tolerance` is the largest difference that a repeated evaluation may have on `device`.
    """

    scores: Scores = field(default_factory=dict)
    values: PerQuery = field(default_factory=dict)
    dim: int = 0
    device: str = ""
    tolerance: float = 0.0
    reason_missing: str | None = None


@dataclass(frozen=True)
class Reference:
    """Model to beat. `dims_in_use` are the dimensions that it serves and that the challenger must have, too."""

    label: str
    evaluation: ModelEvaluation
    dims_in_use: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class GateInput:
    """All input of one evaluation of the gate.

    `rehearsal_tag` is the rehearsal tag of the registered version, `found_fingerprint` the fingerprint of the data as
    loaded now, `groups` the passage group of each query, in the order of the evaluations' values.
    """

    name: str
    rehearsal_tag: bool
    evidence: Evidence
    gate: GateConfig
    found_fingerprint: str
    groups: tuple[int, ...]
    challenger: ModelEvaluation
    base: Reference
    champion: Reference | None

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions at which the challenger must satisfy the rule, from large to small."""
        return required_dims(self.gate, self.evidence, self.champion.dims_in_use if self.champion else ())


def required_dims(gate: GateConfig, evidence: Evidence, served: tuple[int, ...]) -> tuple[int, ...]:
    """Return the dimensions at which the gate compares models, from large to small.

    Args:
        gate: Rules of the gate; its `dims` have precedence if there are any.
        evidence: Evidence of the challenger, with the dimensions that the sweep evaluated.
        served: Dimensions that the champion serves.

    Returns:
        `gate.dims`, or every dimension that was evaluated and every one that the champion serves.
    """
    return tuple(sorted(set(gate.dims or (*evidence.dims, *served)), reverse=True))
