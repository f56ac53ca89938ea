"""Records of the ledger's trials as values, with the reports and the result of a finished trial.

They contain everything that is logged to MLflow, so that records that the outbox lost can be logged again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from embsweep.config.search_space import Value
from embsweep.search.pruners import STEPS_PER_SCHEDULE
from embsweep.selection.scores import scores_from_json
from embsweep.training.messages import Outcome, TrialReport, TrialResult, from_rows

ATTEMPT = "attempt"
"""Attribute: number of starts of the trial; absent until all its parameters are drawn."""

PROCESS_LOSSES = "process_losses"
"""Attribute: number of times that the trial's process died while the driver was alive."""

ABANDONED = "abandoned"
"""Attribute: the trial was not finished because its point is no longer requested; its state is not a result."""

STOP_AT = "stop_at"
"""Attribute: the step at which the pruner stopped the trial."""

REPORTS = "reports"
"""Attribute of a run in the ledger: its evaluations, complete and in order."""

PREVIOUS_REPORTS = "previous_reports"
"""Attribute of a run in the ledger: the last report of its earlier attempts for each step."""

FACT_NAMES = "fact_names"
"""Attribute of a run in the ledger: names of the attributes that are facts of its training."""

MINI_BATCH_SIZE = "mini_batch_size"
"""Attribute, and fact of a trial: pairs of a mini-batch of its last attempt, or of the next one after it ran out of
memory; absent if the loss has no mini-batches."""

OOM_RETRY = "oom_retry"
"""Attribute, and fact of a trial: the mini-batch sizes with which it ran out of memory, and the one after them."""

State = Literal["running", "complete", "stopped", "failed"]

_STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}

_OUTCOMES = {"complete": Outcome.COMPLETE, "stopped": Outcome.STOPPED, "failed": Outcome.FAILED}


@dataclass(frozen=True)
class TrialRecord:
    """The ledger's data of one trial.

    `best` is its best objective so far, None before the first evaluation; `fraction` is the largest reported fraction
    of the schedule; `attributes` are set by the sweep (checkpoint, per-dimension scores, pid, times, reason).
    """

    number: int
    state: State
    params: Mapping[str, Value]
    best: float | None
    fraction: float
    attributes: Mapping[str, Any]

    @property
    def attempt(self) -> int:
        """Number of starts of the trial."""
        return int(self.attributes.get(ATTEMPT, 0))

    @property
    def losses(self) -> int:
        """Number of times that its process died while the driver was alive."""
        return int(self.attributes.get(PROCESS_LOSSES, 0))

    @property
    def is_finished(self) -> bool:
        """True if the trial has ended, so that nothing will be added to it."""
        return self.state != "running"

    @property
    def reports(self) -> tuple[TrialReport, ...]:
        """The evaluations of the last attempt and those that it resumed from."""
        return from_rows(self.attributes.get(REPORTS, []))

    @property
    def previous_reports(self) -> tuple[TrialReport, ...]:
        """The last report of earlier attempts for each step."""
        return from_rows(self.attributes.get(PREVIOUS_REPORTS, []))

    @property
    def result(self) -> TrialResult:
        """The result of a finished trial."""
        facts, outcome = self.attributes, _OUTCOMES[self.state]
        scores = facts.get("scores")
        return TrialResult(
            outcome,
            None if outcome is Outcome.FAILED else self.best,
            None if scores is None else scores_from_json(scores),
            facts.get("checkpoint"),
            facts.get("ended_at", 0.0),
            facts.get("reason"),
        )


def was_started(trial: FrozenTrial) -> bool:
    """Return whether an Optuna trial was ever started: neither still queued nor abandoned before its start."""
    is_void = ABANDONED in trial.user_attrs and ATTEMPT not in trial.user_attrs
    return trial.state != TrialState.WAITING and not is_void


def to_record(trial: FrozenTrial) -> TrialRecord:
    """Return the record of an Optuna trial that was started."""
    reported = trial.intermediate_values
    best = trial.value if trial.state == TrialState.COMPLETE else max(reported.values(), default=None)
    return TrialRecord(
        number=trial.number,
        state=_STATES[trial.state],
        params=dict(trial.params),
        best=best if best is not None and math.isfinite(best) else None,
        fraction=max(reported, default=0) / STEPS_PER_SCHEDULE,
        attributes=dict(trial.user_attrs),
    )
