"""Interfaces between a runner and the sweep: a `Runner` executes the trials that a `TrialScheduler` suggests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from embsweep.training.messages import Reporter, TrialReport, TrialResult, TrialSpec, TrialStarted

TrialFn = Callable[[TrialSpec, Reporter], TrialResult]
"""A function that runs one trial to its end, reports, and returns its result; picklable by reference, so that other
processes can call it.

`InlineRunner` calls it in the driver process, in the thread that called `run`. `RayRunner` calls it in a worker
process, in a thread that is not the main one: once, in the process of the Ray Tune trial, if the trial has one worker;
otherwise at the same time in each of the trial's Ray Train workers.
"""


class TrialScheduler(Protocol):
    """Suggests trials and records their reports.

    All methods are called in the driver process, by the thread that called `Runner.run`, one call at a time: an
    implementation needs no locks. `InlineRunner` calls them directly, the `on_` methods through the trial's reporter.
    `RayRunner` calls them from Ray Tune's control loop (`Tuner.fit`), which receives the reports of the worker
    processes.

    For each suggested trial `on_trial_start` is called first (not if it ends before it is set up), then
    `on_trial_result` once per evaluation, and last either `on_trial_complete` or `on_trial_error`, exactly once.
    Neither is called for a trial that is open when the run is interrupted or a method of the scheduler raises an
    exception. Such an exception ends the run: no further method is called, and `Runner.run` raises it.
    """

    def suggest(self) -> TrialSpec | None:
        """Return the next trial to run, or None if there is none at present.

        `InlineRunner` calls it after each trial; None ends the run. `RayRunner` calls it once before Ray starts, then
        from Tune's search algorithm (`_TuneSearcher.suggest`) whenever fewer trials than slots are open. It asks again
        after None while trials are open, because one that is lost may be suggested again; None with no open trial ends
        the run.
        """

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """Record that a trial is set up and about to train.

        `InlineRunner` calls it from the trial's `Reporter.start`, `RayRunner` from Tune's trial scheduler
        (`_TuneScheduler.on_trial_result`) when the message of the worker process arrives.

        Args:
            number: The trial's number.
            started: Process, host, setup times and facts of the attempt, and the reports of earlier attempts.
        """

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """Record an evaluation and return True if the trial should stop.

        `InlineRunner` calls it from the trial's `Reporter.report`, `RayRunner` from Tune's trial scheduler
        (`_TuneScheduler.on_trial_result`). With either, the trial waits for the answer.

        Args:
            number: The trial's number.
            report: The evaluation.

        Returns:
            True to stop the trial; `on_trial_complete` is called next.
        """

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """Record the end of a trial, whatever its outcome; `suggest` may return one again that ran out of memory.

        `InlineRunner` calls it from the attempt's `Reporter.finish`. `RayRunner` calls it from Tune's search algorithm
        (`_TuneSearcher.on_trial_complete`) when Tune has closed the trial: after the result has arrived from the worker
        process, or after `on_trial_result` returned True, with a result that the driver builds from that report.

        Args:
            number: The trial's number.
            result: Outcome, best objective, checkpoint folder and, if it failed, the reason.
        """

    def on_trial_error(self, number: int, reason: str) -> None:
        """Record that a process of a trial, or its node, died before the trial ended; `suggest` may return it again.

        Only `RayRunner` calls it, from Tune's search algorithm (`_TuneSearcher.on_trial_complete`). The trials of
        `InlineRunner` have no process of their own.

        Args:
            number: The trial's number.
            reason: The cause of the loss, as far as it is known.
        """


class Runner(Protocol):
    """Runs the trials of a scheduler until it has no more. A trial that fails or dies does not end the others."""

    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """Block until `suggest` has returned None and every suggested trial has ended.

        Args:
            scheduler: Suggests the trials and records their reports, in the calling thread.
            trial_fn: The function that runs one trial.

        Raises:
            Exception: If a method of `scheduler` raises it; open trials stay open in the ledger.
        """
