"""Snapshot of a sweep as plain values: built by `sweep`, rendered by the other modules of this package."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class TrialRow:
    """One trial. `state` is running, complete, stopped or failed; `fraction` is the finished share of its schedule."""

    number: int
    state: str
    best: float | None
    fraction: float
    params: str
    elapsed_s: float | None
    note: str = ""


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment. `slots` is the number of trials that run at the same time."""

    name: str
    title: str
    baseline: float | None
    requested_trials: int
    slots: int
    rows: tuple[TrialRow, ...]

    @property
    def finished(self) -> tuple[TrialRow, ...]:
        """Trials that are no longer running."""
        return tuple(row for row in self.rows if row.state != "running")

    @property
    def best(self) -> TrialRow | None:
        """The best trial so far; of equals, the one with the lowest number."""
        able = [row for row in self.rows if row.best is not None and row.state != "failed"]
        return max(able, key=lambda row: (row.best or 0.0, -row.number), default=None)

    def remaining_s(self) -> float | None:
        """Estimate the remaining time from the mean duration of the finished trials; None if there is none yet."""
        durations = [row.elapsed_s for row in self.finished if row.elapsed_s]
        if not durations:
            return None
        return (self.requested_trials - len(self.finished)) * (sum(durations) / len(durations)) / self.slots


@dataclass(frozen=True)
class Result:
    """Result of a sweep: the evidence about its winner, and the registered version."""

    evidence: Evidence
    registered: str
