"""One attempt at a job: whatever the work does, it finishes exactly once, and nothing but numbers leaves it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from embsweep.core.errors import TrialFailed
from embsweep.evaluation.evaluator import check_scores
from embsweep.runners.base import TrialFn
from embsweep.training.failures import format_error
from embsweep.training.messages import Outcome, Reporter, TrialReport, TrialResult, TrialSpec, TrialStarted
from embsweep.training.resume import StaleAttempt

NO_RESULT = "the trial ended without a result"

log = logging.getLogger(__name__)


@dataclass
class _ValidatingReporter:
    """A reporter that lets only numbers pass, and remembers whether `finish` was called.

    `is_leaving`: whoever listens has ended the attempt with an exception that is none of the trial's (Tune says *stop*
    by SystemExit).
    """

    inner: Reporter
    metric: str
    is_finished: bool = False
    is_leaving: bool = False

    def start(self, started: TrialStarted) -> None:
        with self._forwarding():
            self.inner.start(started)

    def report(self, report: TrialReport) -> bool:
        for name in ("objective", "best_objective"):
            if not math.isfinite(value := getattr(report, name)):
                raise TrialFailed("not-finite", f"{name} is {value} at step {report.step}")
        check_scores(report.scores, self.metric)
        with self._forwarding():
            return self.inner.report(report)

    def finish(self, result: TrialResult) -> None:
        self.is_finished = True
        with self._forwarding():
            self.inner.finish(_check_result(result))

    @contextmanager
    def _forwarding(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self.is_leaving = True
            raise


def run_attempt(trial_fn: TrialFn, job: TrialSpec, reporter: Reporter) -> None:
    """Do the work; whatever it raises, and a missing result, becomes a FAILED result with the reason.

    Not so what comes from outside: a Ctrl-C, a later attempt, and what the reporter's listener raises beyond Exception.
    """
    watched = _ValidatingReporter(reporter, job.config.objective.metric)
    try:
        trial_fn(job, watched)
        reason = NO_RESULT
    except BaseException as error:
        if watched.is_leaving or not _is_trial_error(error):
            raise
        log.exception("trial %d", job.number)
        reason = format_error(error)
    if not watched.is_finished:
        watched.finish(TrialResult(Outcome.FAILED, None, None, None, time.time(), reason))


def _is_trial_error(error: BaseException) -> bool:
    """Whether the trial raised it. In the main thread an interrupt is the user's; no other thread ever gets one."""
    if isinstance(error, StaleAttempt):
        return False
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, Exception | SystemExit) or not is_main


def _check_result(result: TrialResult) -> TrialResult:
    """A trial that says it did well and has no number to show for it has failed."""
    best = result.best_objective
    if result.outcome is Outcome.FAILED or (best is not None and math.isfinite(best)):
        return result
    reason = f"the trial ended with {best} as its best objective"
    return replace(result, outcome=Outcome.FAILED, best_objective=None, best_scores=None, reason=reason)
