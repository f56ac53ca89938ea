"""The contract between a trial and whoever runs it: a job goes in, reports come out, a stop may come back.

A trial's reports as JSON text: how they travel between processes, and how a trial remembers its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from embsweep.config import TrialConfig
from embsweep.config.base import FrozenModel
from embsweep.evaluation.evaluator import Scores
from embsweep.selection.scores import scores_from_json

PREVIOUS = "previous"
"""Folder within a trial's own, of the same make: the trial as it stood one evaluation earlier."""


class TrialSpec(FrozenModel):
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
        return Path(self.folder) / "per_query.npz"

    @property
    def state(self) -> Path:
        """Where the trial keeps what it needs to go on after its process died; gone when it is over."""
        return Path(self.folder) / "state"

    @property
    def previous(self) -> TrialSpec:
        """The same trial one evaluation earlier; gone with `state`."""
        return self.model_copy(update={"folder": str(Path(self.folder) / PREVIOUS)})


@dataclass(frozen=True)
class TrialReport:
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
class TrialStarted:
    """A trial's process is up: `setup_s` is what it paid before the first step (imports, loading the model).

    `earlier` holds what attempts before this one have reported: it goes on behind the last of them.
    """

    pid: int
    host: str
    started_at: float
    setup_s: float
    import_s: float
    facts: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[TrialReport, ...] = ()


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

    def start(self, started: TrialStarted) -> None:
        """The trial is set up and about to train."""

    def report(self, report: TrialReport) -> bool:
        """Hand over an evaluation; True means: stop now, keep what is on disk, and finish."""

    def finish(self, result: TrialResult) -> None:
        """The trial is over, whatever the outcome."""


Message = TrialStarted | TrialReport | TrialResult

_KINDS: dict[str, type[Any]] = {"started": TrialStarted, "report": TrialReport, "result": TrialResult}


def to_text(message: Message) -> str:
    """One line of JSON; floats keep every bit."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(message, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(message)})


def from_text(text: str) -> Message:
    """The message that `to_text` was given."""
    fields = json.loads(text)
    message: Message = _KINDS[fields.pop("kind")](**_restore(fields))
    return message


def reports_to_text(reports: tuple[TrialReport, ...]) -> str:
    """Several reports as one line of JSON."""
    return json.dumps(to_rows(reports))


def reports_from_text(text: str) -> tuple[TrialReport, ...]:
    """The reports that `reports_to_text` was given. ValueError, KeyError or TypeError for any other text."""
    return from_rows(json.loads(text))


def to_rows(reports: Iterable[TrialReport]) -> list[dict[str, Any]]:
    """Reports as plain JSON."""
    return [dataclasses.asdict(report) for report in reports]


def from_rows(rows: Iterable[dict[str, Any]]) -> tuple[TrialReport, ...]:
    """The reports that `to_rows` was given, once they went through JSON."""
    return tuple(TrialReport(**_restore(row)) for row in rows)


_RESTORE: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"scores": scores_from_json, "best_scores": scores_from_json, "outcome": Outcome, "earlier": from_rows}
)
"""Fields that JSON has no type for."""


def _restore(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _RESTORE[name](value) if name in _RESTORE and value is not None else value
        for name, value in fields.items()
    }
