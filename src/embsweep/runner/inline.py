"""The in-process twin of the Ray runner: one trial after the other, for tests and debugging."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.runner.attempt import run_attempt
from embsweep.runner.desk import Desk, Work
from embsweep.trial.reporter import Report, Started, TrialResult


@dataclass(frozen=True)
class _DeskReporter:
    """Hands a trial's reports straight to the desk."""

    desk: Desk
    number: int

    def start(self, started: Started) -> None:
        self.desk.started(self.number, started)

    def report(self, report: Report) -> bool:
        return self.desk.report(self.number, report)

    def finish(self, result: TrialResult) -> None:
        self.desk.finished(self.number, result)


class InlineRunner:
    """Runs jobs one by one in the calling thread."""

    def run(self, desk: Desk, work: Work) -> None:
        """See `Runner.run`."""
        while (job := desk.next_job()) is not None:
            run_attempt(work, job, _DeskReporter(desk, job.number))
