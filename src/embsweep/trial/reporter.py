"""The contract between a trial and whoever runs it: a job goes in, reports come out, a stop may come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from embsweep.config import TrialConfig
from embsweep.config.base import Part
from embsweep.trial.evaluation import Scores

BEFORE = "before"
"""Folder within a trial's own, of the same make: the trial as it stood one evaluation earlier."""


class TrialJob(Part):
    """One trial to run. `number` is its place in the ledger, `attempt` counts its starts from 1.

    `fold` chooses a fold of the cross-validation instead of the sweep's own split.
    """

    number: int
    attempt: int
    config: TrialConfig
    folder: str
    fold: int | None = None

    @property
    def best(self) -> Path:
        """Where the trial's best weights are kept."""
        return Path(self.folder) / "best"

    @property
    def values(self) -> Path:
        """Where each query's score at the best evaluation is kept."""
        return Path(self.folder) / "values.npz"

    @property
    def state(self) -> Path:
        """Where the trial keeps what it needs to go on after its process died; gone when it is over."""
        return Path(self.folder) / "state"

    @property
    def before(self) -> TrialJob:
        """The same trial one evaluation earlier; gone with `state`."""
        return self.model_copy(update={"folder": str(Path(self.folder) / BEFORE)})


@dataclass(frozen=True)
class Report:
    """One evaluation inside a trial, at `fraction` of the planned schedule.

    `objective` belongs to this evaluation, `best_objective` to the best one so far, whose weights are
    the ones on disk; `loss` is the mean training loss since the last report. A report that is handed over again
    after a crash is equal to the first one, `reported_at` (seconds since the epoch) included.
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


@dataclass(frozen=True)
class Started:
    """A trial's process is up: `setup_s` is what it paid before the first step (imports, loading the model).

    `earlier` holds what attempts before this one have reported: it goes on behind the last of them.
    """

    pid: int
    host: str
    started_at: float
    setup_s: float
    import_s: float
    facts: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[Report, ...] = ()


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialResult:
    """The end of a trial. `checkpoint` is the folder of its best weights, None if it never got that far."""

    outcome: Outcome
    best_objective: float | None
    best_scores: Scores | None
    checkpoint: str | None
    ended_at: float
    reason: str | None = None


@runtime_checkable
class Reporter(Protocol):
    """A trial's only way out. Calls come in the order start, report…, finish; finish comes exactly once.

    A trial that is tried again where it ran out of memory starts a second time, without `earlier`, and goes on behind
    its last report.
    """

    def start(self, started: Started) -> None:
        """The trial is set up and about to train."""

    def report(self, report: Report) -> bool:
        """Hand over an evaluation; True means: stop now, keep what is on disk, and finish."""

    def finish(self, result: TrialResult) -> None:
        """The trial is over, whatever the outcome."""
