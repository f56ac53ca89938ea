"""The evidence about a sweep's winner: what the card prints, and what the gate judges, long after the sweep.

It is written once, when the winner is registered, and read back from the registry as text that may have been
changed: so every part is checked again.

What a comparison of two models on the same queries says, as values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from embsweep.config.base import Dims, FrozenModel
from embsweep.config.sweep import GateConfig
from embsweep.config.training import ObjectiveConfig, TrialConfig
from embsweep.selection.objective import compute_objective, counted_dims, resolve_floors
from embsweep.selection.scores import PerQuery


class Interval(FrozenModel):
    """A mean over the queries with its 95 % interval."""

    mean: float
    low: float
    high: float


class Comparison(FrozenModel):
    """Ours minus a rival's on the same queries; `dim` None is the objective over all dimensions.

    `low` and `high` bound the difference in 95 of 100 samples of queries. `p_value` is that of a two-sided
    randomisation test of a difference that is `margin`, `adjusted_p` the same after Holm's correction for all
    comparisons made together. `detectable` is by how much a difference must be above `margin` so that so many queries
    would show it in 80 of 100 samples.
    """

    reference: str
    dim: int | None
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    detectable: float
    queries: int
    groups: int
    margin: float = 0.0


WINNER, BASE, BM25, RECIPE, RUNNER_UP = "winner", "base", "BM25", "recipe", "runner-up"
"""Names under which models are read on the test split."""

Table = Annotated[dict[int, dict[str, float]], Field(strict=False)]
Values = Annotated[tuple[float, ...], Field(strict=False)]


class EvaluationRecord(FrozenModel):
    """One model read on one set.

    `scores`: dimension → metric → mean; BM25 has no dimensions and stands at every one of them alike.
    `values`: dimension → the objective's metric of each query. `intervals`: dimension → that metric with its interval.
    `trial` is its number in the search, None for base and BM25.
    """

    scores: Table
    values: Annotated[dict[int, Values], Field(strict=False)]
    intervals: Annotated[dict[int, Interval], Field(strict=False)]
    trial: int | None = None

    @property
    def per_query(self) -> PerQuery:
        """`values` as arrays."""
        return {dim: np.array(values, dtype=np.float64) for dim, values in self.values.items()}


class DataRecord(FrozenModel):
    """The data by name, fingerprint, sizes and the configuration that reads it; never its texts."""

    name: str
    fingerprint: str
    sizes: dict[str, int]
    config: dict[str, Any]
    merged: Annotated[tuple[str, ...], Field(strict=False)]


class FindingRecord(FrozenModel):
    """One finding of the data audit."""

    name: str
    severity: Literal["error", "warning", "note"]
    message: str
    waived: bool = False


class VerificationRecord(FrozenModel):
    """The winner's weights read back in a fresh process: `difference` is the largest of any recorded metric."""

    manifest_sha256: str
    device: str
    difference: float
    tolerance: float
    pid: int


class ConfirmedRecord(FrozenModel):
    """One configuration that was run again: the objective on validation in the search and with each fresh seed."""

    trial: int
    params: dict[str, str | int | float]
    is_recipe: bool
    searched: float | None
    confirmed: Values
    failures: int = 0


class VerdictRecord(FrozenModel):
    """The choice among the confirmed configurations.

    `outcome` is `named` (better than every other), `tied` (the cheapest of `tied_with` was taken by `rule`) or
    `unconfirmed` (nothing was run again). `comparisons` are the winner against the others on validation.
    """

    outcome: Literal["named", "tied", "unconfirmed"]
    winner: int
    tied_with: Annotated[tuple[int, ...], Field(strict=False)]
    rule: str
    comparisons: Annotated[tuple[Comparison, ...], Field(strict=False)]
    confirmed: Annotated[tuple[ConfirmedRecord, ...], Field(strict=False)]
    warnings: Annotated[tuple[str, ...], Field(strict=False)] = ()


class LogRow(FrozenModel):
    """One evaluation of the winner's training, on validation; `is_saved` marks the weights that were kept."""

    fraction: float
    epoch: float
    step: int
    loss: float | None
    objective: float
    values: Annotated[dict[int, float], Field(strict=False)]
    is_saved: bool


class TrainingRecord(FrozenModel):
    """How the registered weights came to be. `seed` is that of the run, `facts` what hardware and data decided."""

    trial: int
    run: str
    params: dict[str, str | int | float]
    config: TrialConfig
    log: Annotated[tuple[LogRow, ...], Field(strict=False)]
    facts: dict[str, Any]


class Evidence(FrozenModel):
    """Everything that is claimed of a registered winner. `look` counts how often the test split has been read.

    `validation` holds the scores of winner, base and BM25 there, `test` the readings of every model on the test split
    and `objectives` the objective of each of these. `optimism` is the winner's objective on validation minus that on
    test. `smallest_dim` is the smallest dimension that is not significantly below the largest on test.
    """

    format: Literal[1] = 1
    sweep: str
    study: str
    base_model: str
    rehearsal: bool
    rehearses: str | None
    complete: bool
    budget: int
    counts: dict[str, int]
    space: dict[str, str]
    dims: Dims
    objective: ObjectiveConfig
    gate: GateConfig
    data: DataRecord
    audit: Annotated[tuple[FindingRecord, ...], Field(strict=False)]
    training: TrainingRecord
    verdict: VerdictRecord
    proof: VerificationRecord
    holdout_evaluations: int
    groups: Annotated[tuple[int, ...], Field(strict=False)]
    validation: Annotated[dict[str, Table], Field(strict=False)]
    objectives: dict[str, float]
    test: dict[str, EvaluationRecord]
    comparisons: Annotated[tuple[Comparison, ...], Field(strict=False)]
    optimism: float
    smallest_dim: int
    versions: dict[str, str]
    created_at: str

    @model_validator(mode="after")
    def _covers_every_dim(self) -> Self:
        """Card and gate read winner and base model at every one of `dims`, and at those that the objective names."""
        test = {name: reading.scores for name, reading in self.test.items()}
        for split, tables in (("test", test), ("validation", self.validation)):
            for name in (WINNER, BASE):
                found = tables.get(name, {})
                lacking = [
                    d for d in (*self.dims, *counted_dims((), self.objective)) if self.metric not in found.get(d, {})
                ]
                if lacking:
                    raise ValueError(f"{split} holds no {self.metric} of the {name} at dimension {lacking[0]}")
        return self

    def on_validation(self, name: str) -> float:
        """The objective of the winner, base or BM25 on the validation split, floors as the base model scores there."""
        return compute_objective(self.validation[name], resolve_floors(self.objective, self.validation[BASE]))

    @property
    def test_objective(self) -> ObjectiveConfig:
        """The objective with the base model's test scores in place of the floors that name it."""
        return resolve_floors(self.objective, self.test[BASE].scores)

    @property
    def metric(self) -> str:
        """The metric that counts."""
        return self.objective.metric
