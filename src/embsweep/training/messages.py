"""Messages between a trial and its runner, and their JSON form.

A runner passes a `TrialSpec` to the trial function, which calls a `Reporter` and returns a `TrialResult`. The JSON form
is used to send messages between processes and to store reports in the ledger and in a trial's resume state.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from embsweep.config import TrialConfig
from embsweep.config.base import FrozenModel
from embsweep.core.errors import TrialFailed
from embsweep.selection.scores import Scores


class TrialSpec(FrozenModel):
    """One trial to run.

    `number` is the trial's number in the ledger, `attempt` counts its starts from 1. `fold` selects a fold of the
    cross-validation; None selects the sweep's own split.
    """

    number: int
    attempt: int
    config: TrialConfig
    folder: str
    fold: int | None = None

    @property
    def best(self) -> Path:
        """Folder of the trial's best weights."""
        return Path(self.folder) / "best"

    @property
    def values(self) -> Path:
        """File with each query's score at the best evaluation."""
        return Path(self.folder) / "per_query.npz"

    @property
    def state(self) -> Path:
        """Folder of the state for resuming the trial after its process died; deleted when the trial has ended."""
        return Path(self.folder) / "state"


@dataclass(frozen=True)
class TrialReport:
    """One evaluation inside a trial, at `fraction` of the planned schedule; it cannot be built from invalid values.

    `objective` belongs to this evaluation, `best_objective` to the best one so far, whose weights are on disk. `loss`
    is the mean training loss since the last report. A report that is delivered again after a crash equals the first
    one, including `reported_at` (seconds since the Unix epoch).

    Raises:
        TrialFailed: If a number is not finite, a dimension lacks a metric that another one has, or `fraction` or `step`
            is out of range.
    """

    fraction: float
    step: int
    epoch: float
    objective: float
    best_objective: float
    best_fraction: float
    scores: Scores
    loss: float | None
    learning_rate: float | None
    reported_at: float

    def __post_init__(self) -> None:
        metrics = {name for by_metric in self.scores.values() for name in by_metric}
        for dim, by_metric in self.scores.items():
            if lacking := sorted(metrics - by_metric.keys()):
                raise TrialFailed("missing-score", f"the evaluation has no {lacking[0]} at dimension {dim}")
        at_dims = {f"{m} at dimension {dim}": value for dim, found in self.scores.items() for m, value in found.items()}
        own = {name: value for name, value in vars(self).items() if name != "scores" and value is not None}
        at_step = {f"{name} at step {self.step}": value for name, value in own.items()}
        for name, value in (at_dims | at_step).items():
            if not math.isfinite(value):
                raise TrialFailed("not-finite", f"{name} is {value}")
        if not metrics:
            raise TrialFailed("missing-score", f"the evaluation at step {self.step} has no scores")
        if not 0 < self.fraction <= 1 or self.step < 1:
            raise TrialFailed(
                "out-of-range",
                f"a report at fraction {self.fraction}, step {self.step}; "
                "accepted: a fraction in (0, 1], a step from 1",
            )


@dataclass(frozen=True)
class TrialStarted:
    """Start of a trial: its process is set up and is about to train.

    `setup_s` is the time before the first step (imports, loading the model), in seconds. `earlier` holds the reports of
    earlier attempts except the last one, which this attempt delivers again by `Reporter.report` before it resumes.
    """

    pid: int
    host: str
    started_at: float
    setup_s: float
    import_s: float
    facts: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[TrialReport, ...] = ()


class Outcome(StrEnum):
    """Outcome of a trial."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialResult:
    """The end of an attempt. `checkpoint` is the folder of its best weights, None if there are none.

    `out_of_memory`: its training ran out of memory, so that a smaller mini-batch may help. `context_broken`: CUDA
    failed, and every later CUDA call of the process may fail; the runner ends the process and treats it as lost.

    Raises:
        TrialFailed: If a trial that has not failed has no finite best objective.
    """

    outcome: Outcome
    best_objective: float | None
    checkpoint: str | None
    ended_at: float
    reason: str | None = None
    out_of_memory: bool = False
    context_broken: bool = False

    def __post_init__(self) -> None:
        best = self.best_objective
        if self.outcome is not Outcome.FAILED and (best is None or not math.isfinite(best)):
            raise TrialFailed("not-finite", f"the trial ended with {best} as its best objective")

    @classmethod
    def failed(cls, reason: str, *, out_of_memory: bool = False, context_broken: bool = False) -> TrialResult:
        """Return the result of an attempt that failed now."""
        return cls(Outcome.FAILED, None, None, time.time(), reason, out_of_memory, context_broken)


class AttemptAborted(SystemExit):
    """Raised to end an attempt without a result: its reporter is gone, or a later attempt has taken its place."""


class Reporter(Protocol):
    """Receiver of a trial's messages. Everything else that a trial hands over is its result and its files."""

    def start(self, started: TrialStarted) -> None:
        """Receive the start of the trial, which is set up and about to train."""

    def report(self, report: TrialReport) -> bool:
        """Receive an evaluation; return True if the trial must stop, keep what is on disk and return its result."""

    def finish(self, result: TrialResult) -> None:
        """Receive the end of the attempt. `runners.attempt.run_attempt` calls it, once; the trial itself does not."""


Message = TrialStarted | TrialReport | TrialResult

MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
"""Converts a message to one line of JSON (`dump_json`) and back (`validate_json`); floats are kept exactly."""

REPORTS: TypeAdapter[tuple[TrialReport, ...]] = TypeAdapter(tuple[TrialReport, ...])
"""The same for reports as the ledger and a resume state hold them.

`dump_python(…, mode="json")` returns JSON-compatible dictionaries, `validate_python` reads them. Reading raises
ValueError or TrialFailed for anything else.
"""
