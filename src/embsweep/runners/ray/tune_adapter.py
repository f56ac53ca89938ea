"""Connect a `TrialScheduler` to Ray Tune: a searcher, a trial scheduler, a reporter, and the end of the run.

An exception of the scheduler ends the run unchanged. Tune would mark the trial as failed for it, or wrap it in an
exception with the traceback as its text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ray import tune
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from embsweep.runners.base import TrialScheduler
from embsweep.training.messages import (
    MESSAGE,
    AttemptAborted,
    Outcome,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
)

P = ParamSpec("P")
Result = TypeVar("Result")

_MESSAGE = "message"
_WORKER_LOST = "loss of the process"
_PROCESS_DIED = "its process died (killed, out of memory, crashed, or its machine is gone)"


class SchedulerGuard:
    """Calls methods of `scheduler` until one raises an exception, kept as `failure`; then calls no more."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self.scheduler = scheduler
        self.failure: Exception | None = None

    def call(self, otherwise: Result, method: Callable[P, Result], *args: P.args, **keywords: P.kwargs) -> Result:
        """Return what `method` returns, `otherwise` if it raises an exception or an earlier call has."""
        if self.failure is not None:
            return otherwise
        try:
            return method(*args, **keywords)
        except Exception as error:
            self.failure = error
            return otherwise


class StopOnSchedulerError(Stopper):
    """Makes Tune stop all trials once the scheduler has failed; they stay open in the ledger."""

    def __init__(self, guard: SchedulerGuard) -> None:
        self._guard = guard

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are stopped by the scheduler, not here."""
        return False

    def stop_all(self) -> bool:
        """Return whether the scheduler has failed."""
        return self._guard.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles the stopper into its snapshot, which is never restored


class TuneReporter:
    """Reporter of a trial in a Tune process. Tune stops a trial by raising SystemExit in `tune.report`."""

    def __init__(self) -> None:
        self.is_stopped = False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`."""
        try:
            tune.report({_MESSAGE: MESSAGE.dump_json(started).decode()})
        except SystemExit as stop:
            raise AttemptAborted from stop

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`."""
        try:
            tune.report({_MESSAGE: MESSAGE.dump_json(report).decode()})
        except SystemExit:
            self.is_stopped = True
        return self.is_stopped

    def report_worker_loss(self, reason: str) -> None:
        """Report why this process is about to raise: workers died before the trial ended."""
        if not self.is_stopped:
            tune.report({_MESSAGE: "", _WORKER_LOST: reason})  # Tune requires its metric in every result

    def finish(self, result: TrialResult) -> None:
        """See `Reporter.finish`."""
        if not self.is_stopped:  # the driver closed a stopped trial when it decided to stop it
            tune.report({_MESSAGE: MESSAGE.dump_json(result).decode()})


class TuneSearcher(Searcher):
    """Tune's search algorithm: gets trials from the scheduler and reports their ends to it."""

    def __init__(self, guard: SchedulerGuard, first: TrialSpec) -> None:
        super().__init__(metric=_MESSAGE, mode="max")
        self.guard = guard
        self.first: TrialSpec | None = first
        self.open: dict[str, TrialSpec] = {}
        self.results: dict[str, TrialResult] = {}
        self.losses: dict[str, str] = {}
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, None to be asked again, or FINISHED."""
        job, self.first = self.first or self.guard.call(None, self.guard.scheduler.suggest), None
        if job is None and self.open:
            return None  # an open trial may be lost, and be suggested again
        if job is None:
            self.is_exhausted = True
            return Searcher.FINISHED
        self.open[trial_id] = job
        return {"number": job.number, "job": job.model_dump_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the result or the loss of a trial to the scheduler.

        Args:
            trial_id: Tune's id of the trial.
            result: The last result, unused: the result is that which the reporter sent.
            error: True if the trial's process failed.
        """
        scheduler, finished = self.guard.scheduler, self.results.pop(trial_id, None)
        if finished is not None:
            self.guard.call(None, scheduler.on_trial_complete, self.open.pop(trial_id).number, finished)
        elif error:
            reason = self.losses.pop(trial_id, _PROCESS_DIED)
            self.guard.call(None, scheduler.on_trial_error, self.open.pop(trial_id).number, reason)
        # otherwise Tune itself was interrupted, and the trial stays open in the ledger

    def on_message(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass a message of a trial's reporter to the scheduler; return True if the trial must stop.

        Args:
            trial_id: Tune's id of the trial.
            result: The dictionary that the reporter sent.
        """
        job, scheduler = self.open.get(trial_id), self.guard.scheduler
        if _WORKER_LOST in result:
            self.losses[trial_id] = result[_WORKER_LOST]
            return False
        if job is None or _MESSAGE not in result or result.get("done"):
            return False
        message = MESSAGE.validate_json(result[_MESSAGE])
        if isinstance(message, TrialStarted):
            self.guard.call(None, scheduler.on_trial_start, job.number, message)
        elif isinstance(message, TrialResult):
            self.results[trial_id] = message
        elif self.guard.call(False, scheduler.on_trial_result, job.number, message):
            self.results[trial_id] = _stopped(job, message)
            return True
        return False

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Save nothing: a sweep is resumed from its ledger."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneScheduler(FIFOScheduler):
    """Tune's trial scheduler: stops a trial if our scheduler says so."""

    def __init__(self, searcher: TuneSearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP if the scheduler stops the trial after this message, else CONTINUE; see `Searcher.on_message`."""
        return str(self.STOP if self._searcher.on_message(trial.trial_id, result) else self.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _stopped(job: TrialSpec, last: TrialReport) -> TrialResult:
    """Return the result of a trial that the scheduler stopped at `last`; its best weights are in `job.best`."""
    outcome = Outcome.STOPPED if last.fraction < 1.0 else Outcome.COMPLETE
    return TrialResult(outcome, last.best_objective, str(job.best), time.time())
