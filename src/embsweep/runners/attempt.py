"""Run one attempt of a trial and report its end exactly once, whatever the trial raises."""

from __future__ import annotations

import logging
import threading

from embsweep.core.gpu_errors import is_context_broken
from embsweep.runners.base import TrialFn
from embsweep.training.failures import format_error
from embsweep.training.messages import AttemptAborted, Reporter, TrialResult, TrialSpec

log = logging.getLogger(__name__)


def run_attempt(trial_fn: TrialFn, job: TrialSpec, reporter: Reporter) -> TrialResult:
    """Run one attempt of a trial; an exception of the trial becomes a FAILED result with the reason.

    Exceptions that are not errors of the trial are raised, and `finish` is not called for them. If the result says
    `context_broken`, the caller must end this process, or start no other trial in it.

    Args:
        trial_fn: The function that runs the trial.
        job: The trial to run.
        reporter: Receives start, report…, and finish exactly once.

    Returns:
        The result that was passed to `finish`.

    Raises:
        KeyboardInterrupt: If it is raised in the main thread: it is the user's Ctrl-C.
        AttemptAborted: If the reporter, or a later attempt of this trial, ends the attempt.
    """
    try:
        result = trial_fn(job, reporter)
    except BaseException as error:
        if not _is_trial_error(error):
            raise
        log.exception("trial %d", job.number)
        result = TrialResult.failed(format_error(error), context_broken=is_context_broken(error))
    reporter.finish(result)
    return result


def describe_broken_context(result: TrialResult) -> str:
    """Return the reason of an attempt whose process is lost to a broken CUDA context: the first line of the error.

    The lines that CUDA adds to every error are the same for all.
    """
    first_line = (result.reason or "CUDA failed").partition(" | ")[0].rstrip(". ")
    return f"{first_line}; its process ended, because later CUDA calls in it would fail"


def _is_trial_error(error: BaseException) -> bool:
    """Return False for `AttemptAborted` and for the user's Ctrl-C, which only the main thread ever receives."""
    if isinstance(error, AttemptAborted):
        return False
    is_main = threading.current_thread() is threading.main_thread()
    return isinstance(error, Exception | SystemExit) or not is_main
