"""One attempt at a job: whatever the work does, it finishes exactly once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from embsweep.runner.desk import Work
from embsweep.trial.reporter import Outcome, Report, Reporter, Started, TrialJob, TrialResult

log = logging.getLogger(__name__)


@dataclass
class _Watched:
    """A reporter that remembers whether `finish` was called."""

    inner: Reporter
    is_finished: bool = False

    def start(self, started: Started) -> None:
        self.inner.start(started)

    def report(self, report: Report) -> bool:
        return self.inner.report(report)

    def finish(self, result: TrialResult) -> None:
        self.is_finished = True
        self.inner.finish(result)


def run_attempt(work: Work, job: TrialJob, reporter: Reporter) -> None:
    """Do the work; a raised exception or a missing result becomes a FAILED result with the reason."""
    watched = _Watched(reporter)
    try:
        work(job, watched)
        reason = "the trial ended without a result"
    except Exception as error:
        log.exception("trial %d", job.number)
        reason = f"{type(error).__name__}: {error}"
    if not watched.is_finished:
        watched.finish(TrialResult(Outcome.FAILED, None, None, None, time.time(), reason))
