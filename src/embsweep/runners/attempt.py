"""Run one attempt of a trial: call `finish` exactly once and reject non-finite values."""

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
    """A reporter that rejects non-finite numbers and records whether `finish` was called.

    `is_leaving`: the wrapped reporter raised a `BaseException` that is not an error of the trial (Ray Tune stops a
    trial by raising `SystemExit`).
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
    """Run one attempt of a trial; an exception or a missing result becomes a FAILED result with the reason.

    Exceptions that are not errors of the trial are raised, and `finish` is not called for them.

    Args:
        trial_fn: The function that runs the trial.
        job: The trial to run.
        reporter: Receives the validated calls: start, report…, and finish exactly once.

    Raises:
        KeyboardInterrupt: If it is raised in the main thread: it is the user's Ctrl-C.
        StaleAttempt: If a newer attempt of this trial has started.
        BaseException: If `reporter` raises one that is no `Exception`; Ray Tune's `SystemExit`, for instance.
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
    """Return False for a `StaleAttempt` and for the user's Ctrl-C, which only the main thread ever receives."""
    if isinstance(error, StaleAttempt):
        return False
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, Exception | SystemExit) or not is_main


def _check_result(result: TrialResult) -> TrialResult:
    """Turn a result that claims success without a finite best objective into a FAILED one."""
    best = result.best_objective
    if result.outcome is Outcome.FAILED or (best is not None and math.isfinite(best)):
        return result
    reason = f"the trial ended with {best} as its best objective"
    return replace(result, outcome=Outcome.FAILED, best_objective=None, best_scores=None, reason=reason)
