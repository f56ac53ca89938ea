"""The contract between a runner and the sweep it works for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from embsweep.training.messages import Reporter, TrialReport, TrialResult, TrialSpec, TrialStarted

TrialFn = Callable[[TrialSpec, Reporter], None]
"""Runs one job to its end and reports; picklable by reference, so that other processes can call it."""


class TrialScheduler(Protocol):
    """Hands out trials and takes their reports. All calls come from the runner's own process."""

    def suggest(self) -> TrialSpec | None:
        """The next trial to run, or None when nothing is left to hand out."""

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """A trial is about to train."""

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """A trial was evaluated; True stops it."""

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """A trial is over; this or `on_trial_error` is called exactly once for each job handed out."""

    def on_trial_error(self, number: int, reason: str) -> None:
        """The process of a trial, or its machine, is gone; `suggest` may give the same trial once more."""


class Runner(Protocol):
    """Runs the desk's jobs until it has no more. A trial that fails or dies never ends the others."""

    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """Blocks until every job handed out has been finished at the desk and it has no more."""
