"""The contract between a runner and the sweep it works for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from embsweep.training.messages import Report, Reporter, Started, TrialJob, TrialResult

Work = Callable[[TrialJob, Reporter], None]
"""Runs one job to its end and reports; picklable by reference, so that other processes can call it."""


class Desk(Protocol):
    """Hands out trials and takes their reports. All calls come from the runner's own process."""

    def next_job(self) -> TrialJob | None:
        """The next trial to run, or None when nothing is left to hand out."""

    def started(self, number: int, started: Started) -> None:
        """A trial is about to train."""

    def report(self, number: int, report: Report) -> bool:
        """A trial was evaluated; True stops it."""

    def finished(self, number: int, result: TrialResult) -> None:
        """A trial is over; this or `lost` is called exactly once for each job handed out."""

    def lost(self, number: int, reason: str) -> None:
        """The process of a trial, or its machine, is gone; `next_job` may give the same trial once more."""


class Runner(Protocol):
    """Runs the desk's jobs until it has no more. A trial that fails or dies never ends the others."""

    def run(self, desk: Desk, work: Work) -> None:
        """Blocks until every job handed out has been finished at the desk and it has no more."""
