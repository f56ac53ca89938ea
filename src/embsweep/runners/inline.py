"""The in-process twin of the Ray runner: one trial after the other, for tests and debugging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import TrialFn, TrialScheduler
from embsweep.training.messages import TrialReport, TrialResult, TrialStarted


class _SchedulerError(BaseException):
    """What the desk raised on its way through a trial, which is not to blame and must not handle it."""


@dataclass(frozen=True)
class _InlineReporter:
    """Hands a trial's reports straight to the desk."""

    scheduler: TrialScheduler
    number: int

    def start(self, started: TrialStarted) -> None:
        with _reraise_as_scheduler_error():
            self.scheduler.on_trial_start(self.number, started)

    def report(self, report: TrialReport) -> bool:
        with _reraise_as_scheduler_error():
            return self.scheduler.on_trial_result(self.number, report)

    def finish(self, result: TrialResult) -> None:
        with _reraise_as_scheduler_error():
            self.scheduler.on_trial_complete(self.number, result)


@contextmanager
def _reraise_as_scheduler_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _SchedulerError from error


class InlineRunner:
    """Runs jobs one by one in the calling thread."""

    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """See `Runner.run`. What the desk raises is raised here, the trial stays open."""
        while (job := scheduler.suggest()) is not None:
            try:
                run_attempt(trial_fn, job, _InlineReporter(scheduler, job.number))
            except _SchedulerError as failed:
                assert failed.__cause__ is not None  # `raise … from`
                raise failed.__cause__ from None
