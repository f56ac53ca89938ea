"""The evidence about a sweep's winner: data models of everything that the model card prints and the gate checks.

The evidence is written once, when the winner is registered. Later it is read back from the registry as text that may
have been changed, so every part is validated again.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from embsweep.config.base import Dims, FrozenModel
from embsweep.config.sweep import GateConfig
from embsweep.config.training import ObjectiveConfig, TrialConfig
from embsweep.selection.objective import compute_objective, counted_dims, resolve_floors
from embsweep.selection.scores import PerQuery, Scores


class Interval(FrozenModel):
    """A mean over the queries with its 95 % interval."""

    mean: float
    low: float
    high: float


class Comparison(FrozenModel):
    """Our score minus the reference's on the same queries; `dim` None is the objective over all dimensions.

    `low` and `high` bound the difference in 95 of 100 samples of queries. `p_value` is that of a two-sided
    randomisation test whose null hypothesis is a difference of `margin`; `adjusted_p` is the same after Holm's
    correction for all comparisons made together. `detectable` is how far the true difference must be above `margin` to
    be significant in 80 of 100 samples of this many queries.
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
"""Names of the models that are evaluated on the test split."""

Table = Annotated[Scores, Field(strict=False)]
Values = Annotated[tuple[float, ...], Field(strict=False)]
Ranks = Annotated[tuple[Annotated[int, Field(ge=0, le=100)], ...], Field(strict=False)]


class EvaluationRecord(FrozenModel):
    """Evaluation of one model on one set.

    `scores`: dimension → metric → mean; BM25 has no dimensions, so it has the same scores at each of them.
    `values`: dimension → the objective's metric of each query. `intervals`: dimension → that metric with its interval.
    `trial` is the model's trial number in the search, None for base and BM25. `ranks` has the rank of each query's
    first relevant passage at the largest dimension, 0 if it is not among the first 100; empty in older evidence.
    """

    scores: Table
    values: Annotated[dict[int, Values], Field(strict=False)]
    intervals: Annotated[dict[int, Interval], Field(strict=False)]
    trial: int | None = None
    ranks: Ranks = ()

    @property
    def per_query(self) -> PerQuery:
        """`values` as arrays."""
        return {dim: np.array(values, dtype=np.float64) for dim, values in self.values.items()}


class DataRecord(FrozenModel):
    """The data set: name, fingerprint, sizes and the configuration that loads it; never its texts."""

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
    """Re-evaluation of a model's stored weights in a fresh process; `difference` is the largest of all metrics.

    `manifest_sha256` is empty for a base model.
    """

    manifest_sha256: str
    device: str
    difference: float
    tolerance: float
    pid: int


class ConfirmedRecord(FrozenModel):
    """A configuration that was run again: its validation objective in the search and with each fresh seed."""

    trial: int
    params: dict[str, str | int | float]
    is_recipe: bool
    searched: float | None
    confirmed: Values
    failures: int = 0


class VerdictRecord(FrozenModel):
    """The choice among the confirmed configurations.

    `outcome` is `named` (better than all others), `tied` (`rule` selected the cheapest of `tied_with`) or `unconfirmed`
    (nothing was run again). `comparisons` compare the winner with each of the others on validation.
    """

    outcome: Literal["named", "tied", "unconfirmed"]
    winner: int
    tied_with: Annotated[tuple[int, ...], Field(strict=False)]
    rule: str
    comparisons: Annotated[tuple[Comparison, ...], Field(strict=False)]
    confirmed: Annotated[tuple[ConfirmedRecord, ...], Field(strict=False)]
    warnings: Annotated[tuple[str, ...], Field(strict=False)] = ()


Precision = Literal["float32", "float16", "int8", "binary"]
"""Number format of stored embeddings."""


class QuantizationRecord(FrozenModel):
    """The winner on test if the passages' embeddings are stored at one dimension and precision.

    `bytes` are those of one stored vector. `score` is the objective's metric. With `rescored`, the best candidates of a
    search with quantised queries are ranked again with the float32 query; float32 and float16 have nothing to rescore.
    `search_ms` is the time of one exact search over the corpus on one CPU core.
    """

    dim: int
    precision: Precision
    rescored: bool
    bytes: Annotated[int, Field(ge=1)]
    score: Interval
    search_ms: Annotated[float, Field(ge=0)]


class LogRow(FrozenModel):
    """One validation during the winner's training; `is_saved` marks the evaluation whose weights were kept."""

    fraction: float
    epoch: float
    step: int
    loss: float | None
    objective: float
    values: Annotated[dict[int, float], Field(strict=False)]
    is_saved: bool


class TrainingRecord(FrozenModel):
    """The training run of the registered weights; `facts` are the settings that hardware and data determined."""

    trial: int
    run: str
    params: dict[str, str | int | float]
    config: TrialConfig
    log: Annotated[tuple[LogRow, ...], Field(strict=False)]
    facts: dict[str, Any]


EVIDENCE_FORMAT: Literal[2] = 2
"""Raised with each change of the persisted form; `upgrade_evidence` converts earlier ones."""

_RENAMED_AFTER_FORMAT_1 = {"look": "holdout_evaluations", "proof": "verification", "rival": "reference"}


def upgrade_evidence(data: bytes) -> bytes:
    """Convert evidence of format 1 (before 0.1) to the present form, as JSON; return anything else unchanged."""
    try:
        values = json.loads(data, object_hook=_rename_keys)
    except (ValueError, RecursionError):  # the validation that follows says what is wrong
        return data
    if not isinstance(values, dict) or values.pop("format", None) != 1:
        return data
    return json.dumps(values).encode()


def _rename_keys(values: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED_AFTER_FORMAT_1.get(key, key): value for key, value in values.items()}


class Evidence(FrozenModel):
    """All recorded facts about a registered winner.

    `validation` holds the scores of winner, base and BM25 on the validation split, `test` the evaluations of every
    model on the test split and `objectives` the objective of each of these. `holdout_evaluations` counts how often the
    test split has been evaluated. `optimism` is the winner's objective on validation minus that on test.
    `smallest_dim` is the smallest dimension that is not significantly below the largest on test. `quantization` is
    empty in older evidence; `slices` has the value of `data.slice` for each test query, and is empty without that key.
    """

    evidence_format: Literal[2] = EVIDENCE_FORMAT
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
    verification: VerificationRecord
    holdout_evaluations: int
    groups: Annotated[tuple[int, ...], Field(strict=False)]
    validation: Annotated[dict[str, Table], Field(strict=False)]
    objectives: dict[str, float]
    test: dict[str, EvaluationRecord]
    comparisons: Annotated[tuple[Comparison, ...], Field(strict=False)]
    optimism: float
    smallest_dim: int
    quantization: Annotated[tuple[QuantizationRecord, ...], Field(strict=False)] = ()
    slices: Annotated[tuple[str, ...], Field(strict=False)] = ()
    versions: dict[str, str]
    created_at: str

    @model_validator(mode="after")
    def _covers_every_dim(self) -> Self:
        """Check that winner and base have scores at `dims` and the objective's dimensions, which card and gate need."""
        test = {name: record.scores for name, record in self.test.items()}
        for split, tables in (("test", test), ("validation", self.validation)):
            for name in (WINNER, BASE):
                found = tables.get(name, {})
                lacking = [
                    d for d in (*self.dims, *counted_dims((), self.objective)) if self.metric not in found.get(d, {})
                ]
                if lacking:
                    raise ValueError(f"{split} holds no {self.metric} of the {name} at dimension {lacking[0]}")
        return self

    @model_validator(mode="after")
    def _has_one_value_a_query(self) -> Self:
        """Check the lengths of ranks and slices, which are empty in older evidence."""
        queries = len(self.groups)
        lengths = {f"ranks of the {name}": len(record.ranks) for name, record in self.test.items()}
        for what, length in {**lengths, "slices": len(self.slices)}.items():
            if length not in (0, queries):
                raise ValueError(f"{what}: {length} values for {queries} test queries")
        return self

    @model_validator(mode="after")
    def _stores_its_dims(self) -> Self:
        """Check that each kind of stored embeddings occurs once at a dimension, and float32 at the largest."""
        kinds = [(record.dim, record.precision, record.rescored) for record in self.quantization]
        unknown = sorted({dim for dim, _, _ in kinds} - set(self.dims))
        if unknown or len(set(kinds)) < len(kinds):
            raise ValueError(f"quantization has dimension {unknown[0]}" if unknown else "quantization repeats a record")
        if kinds and (max(self.dims), "float32", False) not in kinds:
            raise ValueError(f"quantization has no float32 at dimension {max(self.dims)}")
        return self

    def on_validation(self, name: str) -> float:
        """Compute the validation objective of winner, base or BM25, with floors from the base's validation scores."""
        return compute_objective(self.validation[name], resolve_floors(self.objective, self.validation[BASE]))

    @property
    def test_objective(self) -> ObjectiveConfig:
        """Objective whose `base` floors are the base model's test scores."""
        return resolve_floors(self.objective, self.test[BASE].scores)

    @property
    def metric(self) -> str:
        """Metric of the objective."""
        return self.objective.metric
