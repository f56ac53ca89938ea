"""The in-process twin of the Ray runner: one trial after the other, for tests and debugging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import Desk, Work
from embsweep.training.messages import Report, Started, TrialResult


class _DeskFailed(BaseException):
    """What the desk raised on its way through a trial, which is not to blame and must not handle it."""


@dataclass(frozen=True)
class _DeskReporter:
    """Hands a trial's reports straight to the desk."""

    desk: Desk
    number: int

    def start(self, started: Started) -> None:
        with _past_the_trial():
            self.desk.started(self.number, started)

    def report(self, report: Report) -> bool:
        with _past_the_trial():
            return self.desk.report(self.number, report)

    def finish(self, result: TrialResult) -> None:
        with _past_the_trial():
            self.desk.finished(self.number, result)


@contextmanager
def _past_the_trial() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _DeskFailed from error


class InlineRunner:
    """Runs jobs one by one in the calling thread."""

    def run(self, desk: Desk, work: Work) -> None:
        """See `Runner.run`. What the desk raises is raised here, the trial stays open."""
        while (job := desk.next_job()) is not None:
            try:
                run_attempt(work, job, _DeskReporter(desk, job.number))
            except _DeskFailed as failed:
                assert failed.__cause__ is not None  # `raise … from`
                raise failed.__cause__ from None
