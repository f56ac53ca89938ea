"""Snapshot of a sweep as plain values: built by `sweep`, rendered by the other modules of this package."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class TrialRow:
    """One trial. `state` is running, paused, complete, stopped or failed; `label` is the state in words.

    `fraction` is the finished share of its schedule. `elapsed_s` is the time since its last start or promotion.
    """

    number: int
    state: str
    best: float | None
    fraction: float
    params: str
    elapsed_s: float | None
    note: str = ""
    label: str = ""


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment. `slots` is the number of trials that run at the same time.

    With `has_rungs` its trials pause at rungs, and only the best go on.
    """

    name: str
    title: str
    baseline: float | None
    requested_trials: int
    slots: int
    rows: tuple[TrialRow, ...]
    has_rungs: bool = False

    @property
    def finished(self) -> tuple[TrialRow, ...]:
        """Trials that have ended: they neither run nor may go on."""
        return tuple(row for row in self.rows if row.state not in ("running", "paused"))

    @property
    def best(self) -> TrialRow | None:
        """The best trial so far; of equals, the one with the lowest number."""
        able = [row for row in self.rows if row.best is not None and row.state != "failed"]
        return max(able, key=lambda row: (row.best or 0.0, -row.number), default=None)

    def remaining_s(self) -> float | None:
        """Estimate the remaining time from the mean duration of the finished trials; None if there is none yet.

        There is no estimate if trials pause: few of them finish, and no one knows which.
        """
        durations = [row.elapsed_s for row in self.finished if row.elapsed_s]
        if self.has_rungs or not durations:
            return None
        return (self.requested_trials - len(self.finished)) * (sum(durations) / len(durations)) / self.slots


@dataclass(frozen=True)
class Result:
    """Result of a sweep: the evidence about its winner, and the registered version.

    `store` is the MLflow store without secrets, None for the local one. With `is_whole_space`, every configuration was
    tried, so that more trials would be none. `report` is the path of the report, None if there is none.
    """

    evidence: Evidence
    registered: str
    store: str | None = None
    is_whole_space: bool = False
    report: str | None = None
