"""A sweep as it is shown: plain values, made by the sweep, drawn by the other files of this room."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class TrialRow:
    """One trial. `state` is running, complete, stopped or failed; `fraction` how much of its schedule it has seen."""

    number: int
    state: str
    best: float | None
    fraction: float
    params: str
    elapsed_s: float | None
    note: str = ""


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment. `mean_trial_s` is the mean duration of the finished trials, for the estimate."""

    name: str
    title: str
    objective: str
    baseline: float | None
    requested_trials: int
    slots: int
    rows: tuple[TrialRow, ...]

    @property
    def finished(self) -> tuple[TrialRow, ...]:
        """Trials to which nothing will be added."""
        return tuple(row for row in self.rows if row.state != "running")

    @property
    def best(self) -> TrialRow | None:
        """The best trial so far; of equals the first."""
        able = [row for row in self.rows if row.best is not None and row.state != "failed"]
        return max(able, key=lambda row: (row.best or 0.0, -row.number), default=None)

    def remaining_s(self) -> float | None:
        """Rough time left, from the mean duration of the finished trials; None before there is one."""
        durations = [row.elapsed_s for row in self.finished if row.elapsed_s]
        if not durations:
            return None
        left = self.requested_trials - len(self.finished)
        return left * (sum(durations) / len(durations)) / self.slots


@dataclass(frozen=True)
class Result:
    """The end of a sweep: the evidence about its winner, and where that is registered."""

    evidence: Evidence
    registered: str
