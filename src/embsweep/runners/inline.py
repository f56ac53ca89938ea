"""Run trials one after the other in the calling thread, for tests and debugging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import CodedError
from embsweep.runners.attempt import describe_broken_context, run_attempt
from embsweep.runners.base import Runner, TrialFn, TrialScheduler
from embsweep.runners.resources import Machine, Slots
from embsweep.training.messages import AttemptAborted, Message, TrialReport, TrialResult, TrialStarted

M = TypeVar("M", bound=Message | str)
R = TypeVar("R")


class _SchedulerError(AttemptAborted):
    """Carry an exception of the scheduler through the trial, which must neither handle it nor be marked as failed."""


@dataclass(frozen=True)
class _InlineReporter:
    """Pass a trial's reports directly to the scheduler."""

    scheduler: TrialScheduler
    number: int

    def start(self, started: TrialStarted) -> None:
        self._call(self.scheduler.on_trial_start, started)

    def report(self, report: TrialReport) -> bool:
        return self._call(self.scheduler.on_trial_result, report)

    def finish(self, result: TrialResult) -> None:
        if result.context_broken:
            self._call(self.scheduler.on_trial_error, describe_broken_context(result))
        else:
            self._call(self.scheduler.on_trial_complete, result)

    def _call(self, method: Callable[[int, M], R], message: M) -> R:
        try:
            return method(self.number, message)
        except Exception as error:
            raise _SchedulerError(error) from None


class InlineRunner(Runner):
    """Runs trials one by one in the calling thread."""

    def plan(self, config: RunnerConfig, machines: Sequence[Machine], trials: int, scratch: Path) -> Slots:
        """Return one slot with all CPUs and at most one GPU; see `Runner.plan`."""
        (machine,) = machines
        return Slots(1, config.cpus_per_trial or machine.cpus, float(min(machine.gpus, 1)))

    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """Run trials until `suggest` returns None; see `Runner.run`.

        Args:
            scheduler: Suggests the trials and records their reports.
            trial_fn: The function that runs one trial.

        Raises:
            Exception: If a method of `scheduler` raises it; the trial stays open in the ledger.
            CodedError: If CUDA failed in a trial, and would fail in every later one of this process (`gpu-failed`).
        """
        while (job := scheduler.suggest()) is not None:
            try:
                result = run_attempt(trial_fn, job, _InlineReporter(scheduler, job.number))
            except _SchedulerError as failed:
                raise failed.args[0] from None
            if result.context_broken:
                raise CodedError(
                    "gpu-failed",
                    f"trial {job.number}: {describe_broken_context(result)}; finished trials are kept, the same "
                    "command resumes in a new process",
                )
