"""Run a trial of a step in this process and keep its reports."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

from embsweep.doctor.verdicts import StepFailed
from embsweep.selection.scores import find_largest_difference
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted
from embsweep.training.trial import TrialData, run_trial


@dataclass
class KeepReports:
    """A reporter that keeps everything; `kill_at` is the number of the report at which it kills its process."""

    kill_at: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    reports: list[TrialReport] = field(default_factory=list)
    earlier: int = 0

    def start(self, started: TrialStarted) -> None:
        """Keep the facts of the trial, and the reports of earlier attempts."""
        self.facts = dict(started.facts)
        self.reports, self.earlier = list(started.earlier), len(started.earlier)

    def report(self, report: TrialReport) -> bool:
        """Keep the report; never stop the trial."""
        self.reports.append(report)
        if len(self.reports) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def finish(self, result: TrialResult) -> None:
        """Do nothing: the trial returns its result."""


@dataclass(frozen=True)
class TrialRun:
    """A finished trial: its facts and reports. The weights of the best report are on disk.

    `earlier` is the number of reports before the one from which it resumed; 0 if it began at the start.
    """

    job: TrialSpec
    facts: dict[str, Any]
    reports: tuple[TrialReport, ...]
    earlier: int = 0

    @property
    def last(self) -> TrialReport:
        """The last report."""
        return self.reports[-1]

    @property
    def best(self) -> TrialReport:
        """The report whose weights are on disk."""
        return next(report for report in self.reports if report.fraction == self.last.best_fraction)


def run_complete(job: TrialSpec, data: TrialData, kill_at: int | None = None) -> TrialRun:
    """Run a trial in this process.

    Args:
        job: The trial.
        data: Its data.
        kill_at: Number of the report at which the process kills itself, if it should.

    Raises:
        StepFailed: If the trial fails.
    """
    reporter = KeepReports(kill_at)
    result = run_trial(job, reporter, data)
    if result.outcome is not Outcome.COMPLETE:
        raise StepFailed(f"the trial ended as {result.outcome}: {result.reason}")
    return TrialRun(job, reporter.facts, tuple(reporter.reports), reporter.earlier)


def largest_difference(one: TrialReport, other: TrialReport) -> float:
    """Return the largest difference of any metric at any dimension between two reports."""
    return float(find_largest_difference(one.scores, other.scores)[0])
