"""A trial of the ledger as a value.

A finished run as the ledger has it: all that MLflow is told of it, once more where the outbox has lost it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from embsweep.config.search_space import Value
from embsweep.selection.scores import scores_from_json
from embsweep.training.messages import Outcome, TrialReport, TrialResult, from_rows

ATTEMPT = "attempt"
"""Attribute: how many times the trial was started; absent until it is drawn whole."""

PROCESS_LOSSES = "process_losses"
"""Attribute: how often the trial's process died under a driver that lived on."""

ABANDONED = "abandoned"
"""Attribute: the trial was not run to its end because nobody asks for its point any more; it says nothing about it."""

STOP_AT = "stop_at"
"""Attribute: the step at which the trial was told to stop."""

State = Literal["running", "complete", "stopped", "failed"]

_STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRecord:
    """What the ledger holds of one trial.

    `best` is its best objective so far, None before the first evaluation; `attributes` are those the sweep
    annotated (run id, checkpoint, per-dimension scores, pid, times, reason).
    """

    number: int
    state: State
    params: Mapping[str, Value]
    best: float | None
    fraction: float
    attributes: Mapping[str, Any]

    @property
    def attempt(self) -> int:
        """How many times the trial was started."""
        return int(self.attributes.get(ATTEMPT, 0))

    @property
    def losses(self) -> int:
        """How often its process died under a driver that lived on."""
        return int(self.attributes.get(PROCESS_LOSSES, 0))

    @property
    def is_finished(self) -> bool:
        """Whether nothing will be added to it."""
        return self.state != "running"


def was_started(trial: FrozenTrial) -> bool:
    """Whether an Optuna trial is one of the sweep: neither only queued, nor given up before it was handed out."""
    is_void = ABANDONED in trial.user_attrs and ATTEMPT not in trial.user_attrs
    return trial.state != TrialState.WAITING and not is_void


def to_record(trial: FrozenTrial) -> TrialRecord:
    """The record of an Optuna trial that was started."""
    reported = trial.intermediate_values
    best = trial.value if trial.state == TrialState.COMPLETE else max(reported.values(), default=None)
    return TrialRecord(
        number=trial.number,
        state=_STATES[trial.state],
        params=dict(trial.params),
        best=best if best is not None and math.isfinite(best) else None,
        fraction=max(reported, default=0) / 1000,
        attributes=dict(trial.user_attrs),
    )


REPORTS = "reports"
"""Attribute of a run in the ledger: its evaluations, whole and in order."""

PREVIOUS_REPORTS = "previous_reports"
"""Attribute of a run in the ledger: the last that its earlier attempts have said of each step."""

FACT_NAMES = "fact_names"
"""Attribute of a run in the ledger: the names of the attributes that are facts of its training."""


def reports_of(record: TrialRecord, note: str = REPORTS) -> tuple[TrialReport, ...]:
    """The evaluations of a run: those of its last attempt, and what that went on from."""
    return from_rows(record.attributes.get(note, []))


def result_of(record: TrialRecord) -> TrialResult:
    """The end of a finished run, as the ledger has it."""
    facts, outcome = record.attributes, _OUTCOMES[record.state]
    scores = facts.get("scores")
    return TrialResult(
        outcome,
        None if outcome is Outcome.FAILED else record.best,
        None if scores is None else scores_from_json(scores),
        facts.get("checkpoint"),
        facts.get("ended_at", 0.0),
        facts.get("reason"),
    )


_OUTCOMES = {"complete": Outcome.COMPLETE, "stopped": Outcome.STOPPED, "failed": Outcome.FAILED}
