"""Messages between a trial and its runner, and their JSON form.

A runner passes a `TrialSpec` to the trial; the trial calls a `Reporter`, whose `report` may return a request to stop.
The JSON form is used to send messages between processes and to store a trial's reports in its resume state.
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
from embsweep.selection.scores import Scores, scores_from_json

PREVIOUS = "previous"
"""Subfolder of a trial's folder with the trial's files of one evaluation earlier, in the same layout."""


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

    @property
    def previous(self) -> TrialSpec:
        """The same trial with the folder of one evaluation earlier, which is deleted together with `state`."""
        return self.model_copy(update={"folder": str(Path(self.folder) / PREVIOUS)})


@dataclass(frozen=True)
class TrialReport:
    """One evaluation inside a trial, at `fraction` of the planned schedule.

    `objective` belongs to this evaluation, `best_objective` to the best one so far, whose weights are on disk. `loss`
    is the mean training loss since the last report. A report that is delivered again after a crash equals the first
    one, including `reported_at` (seconds since the Unix epoch).
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
    """The end of a trial. `checkpoint` is the folder of its best weights, None if there are none."""

    outcome: Outcome
    best_objective: float | None
    best_scores: Scores | None
    checkpoint: str | None
    ended_at: float
    reason: str | None = None


@runtime_checkable
class Reporter(Protocol):
    """Receiver of a trial's messages, the trial's only output besides files.

    A trial calls `start`, then `report` for each evaluation, then `finish` exactly once. A trial that is retried after
    it ran out of memory calls `start` a second time, without `earlier`, and resumes after its last report.
    """

    def start(self, started: TrialStarted) -> None:
        """Receive the start of the trial, which is set up and about to train."""

    def report(self, report: TrialReport) -> bool:
        """Receive an evaluation; return True if the trial must stop, keep what is on disk and finish."""

    def finish(self, result: TrialResult) -> None:
        """Receive the end of the trial, for every outcome."""


Message = TrialStarted | TrialReport | TrialResult

_KINDS: dict[str, type[Any]] = {"started": TrialStarted, "report": TrialReport, "result": TrialResult}


def to_text(message: Message) -> str:
    """Return a message as one line of JSON; floats are kept exactly."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(message, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(message)})


def from_text(text: str) -> Message:
    """Return the message that `to_text` wrote."""
    fields = json.loads(text)
    message: Message = _KINDS[fields.pop("kind")](**_restore(fields))
    return message


def reports_to_text(reports: tuple[TrialReport, ...]) -> str:
    """Return several reports as one line of JSON."""
    return json.dumps(to_rows(reports))


def reports_from_text(text: str) -> tuple[TrialReport, ...]:
    """Return the reports that `reports_to_text` wrote.

    Raises:
        ValueError, KeyError, TypeError: If `reports_to_text` did not write `text`.
    """
    return from_rows(json.loads(text))


def to_rows(reports: Iterable[TrialReport]) -> list[dict[str, Any]]:
    """Return reports as JSON-compatible dictionaries."""
    return [dataclasses.asdict(report) for report in reports]


def from_rows(rows: Iterable[dict[str, Any]]) -> tuple[TrialReport, ...]:
    """Return the reports from rows that `to_rows` wrote, also after a round trip through JSON."""
    return tuple(TrialReport(**_restore(row)) for row in rows)


_RESTORE: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"scores": scores_from_json, "best_scores": scores_from_json, "outcome": Outcome, "earlier": from_rows}
)
"""Functions that restore the fields whose types JSON lacks, by field name."""


def _restore(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _RESTORE[name](value) if name in _RESTORE and value is not None else value
        for name, value in fields.items()
    }
