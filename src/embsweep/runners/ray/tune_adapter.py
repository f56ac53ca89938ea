"""Connect a `TrialScheduler` to Ray Tune: a searcher, a trial scheduler, a reporter, and the end of the run.

An exception of the scheduler ends the run unchanged. Tune would mark the trial as failed for it, or wrap it in an
exception with the traceback as its text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from ray import tune
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from embsweep.runners.base import TrialScheduler
from embsweep.training.messages import (
    AttemptAborted,
    Outcome,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
    from_text,
    to_text,
)

Result = TypeVar("Result")

_MESSAGE = "message"
_WORKER_LOST = "loss of the process"
_PROCESS_DIED = "its process died (killed, out of memory, crashed, or its machine is gone)"


class ExceptionCapturingScheduler:
    """Forwards calls to `inner` until one raises an exception, which is kept as `failure`; then forwards no more."""

    def __init__(self, inner: TrialScheduler) -> None:
        self.inner = inner
        self.failure: Exception | None = None

    def suggest(self) -> TrialSpec | None:
        """Return the suggestion of `inner`, None once a call has failed."""
        return self._call(self.inner.suggest, None)

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """Forward the start of a trial."""
        self._call(lambda: self.inner.on_trial_start(number, started), None)

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """Return the decision of `inner` about an evaluation, False once a call has failed."""
        return self._call(lambda: self.inner.on_trial_result(number, report), False)

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """Forward the end of a trial."""
        self._call(lambda: self.inner.on_trial_complete(number, result), None)

    def on_trial_error(self, number: int, reason: str) -> None:
        """Forward the loss of a trial's process."""
        self._call(lambda: self.inner.on_trial_error(number, reason), None)

    def _call(self, method: Callable[[], Result], otherwise: Result) -> Result:
        if self.failure is not None:
            return otherwise
        try:
            return method()
        except Exception as error:
            self.failure = error
            return otherwise


class StopOnSchedulerError(Stopper):
    """Makes Tune stop all trials once the scheduler has failed; they stay open in the ledger."""

    def __init__(self, scheduler: ExceptionCapturingScheduler) -> None:
        self._scheduler = scheduler

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are stopped by the scheduler, not here."""
        return False

    def stop_all(self) -> bool:
        """Return whether the scheduler has failed."""
        return self._scheduler.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles the stopper into its snapshot, which is never restored


class TuneReporter:
    """Reporter of a trial in a Tune process. Tune stops a trial by raising SystemExit in `tune.report`."""

    def __init__(self) -> None:
        self.is_stopped = False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`."""
        try:
            tune.report({_MESSAGE: to_text(started)})
        except SystemExit as stop:
            raise AttemptAborted from stop

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`."""
        try:
            tune.report({_MESSAGE: to_text(report)})
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
            tune.report({_MESSAGE: to_text(result)})


class TuneSearcher(Searcher):
    """Tune's search algorithm: gets trials from the scheduler and reports their ends to it."""

    def __init__(self, scheduler: TrialScheduler, first: TrialSpec) -> None:
        super().__init__(metric=_MESSAGE, mode="max")
        self.scheduler = scheduler
        self.first: TrialSpec | None = first
        self.open: dict[str, TrialSpec] = {}
        self.results: dict[str, TrialResult] = {}
        self.losses: dict[str, str] = {}
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, None to be asked again, or FINISHED."""
        job, self.first = self.first or self.scheduler.suggest(), None
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
        finished = self.results.pop(trial_id, None)
        if finished is not None:
            self.scheduler.on_trial_complete(self.open.pop(trial_id).number, finished)
        elif error:
            self.scheduler.on_trial_error(self.open.pop(trial_id).number, self.losses.pop(trial_id, _PROCESS_DIED))
        # otherwise Tune itself was interrupted, and the trial stays open in the ledger

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Raise NotImplementedError."""
        raise NotImplementedError("a sweep is resumed from its ledger")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Save nothing: the ledger holds the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneScheduler(FIFOScheduler):
    """Tune's trial scheduler: passes each report to our scheduler and stops the trial if that returns True."""

    def __init__(self, searcher: TuneSearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass a message of the reporter to the scheduler.

        Args:
            tune_controller: Tune's controller, unused.
            trial: Tune's trial.
            result: The dictionary that the reporter sent.

        Returns:
            CONTINUE, or STOP if the scheduler stops the trial.
        """
        job = self._searcher.open.get(trial.trial_id)
        if _WORKER_LOST in result:
            self._searcher.losses[trial.trial_id] = result[_WORKER_LOST]
            return str(self.CONTINUE)
        if job is None or _MESSAGE not in result or result.get("done"):
            return str(self.CONTINUE)
        message = from_text(result[_MESSAGE])
        if isinstance(message, TrialStarted):
            self._searcher.scheduler.on_trial_start(job.number, message)
        elif isinstance(message, TrialResult):
            self._searcher.results[trial.trial_id] = message
        elif self._searcher.scheduler.on_trial_result(job.number, message):
            self._searcher.results[trial.trial_id] = _stopped(job, message)
            return str(self.STOP)
        return str(self.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _stopped(job: TrialSpec, last: TrialReport) -> TrialResult:
    """Return the result of a trial that the scheduler stopped at `last`; its best weights are in `job.best`."""
    outcome = Outcome.STOPPED if last.fraction < 1.0 else Outcome.COMPLETE
    return TrialResult(outcome, last.best_objective, None, str(job.best), time.time())
