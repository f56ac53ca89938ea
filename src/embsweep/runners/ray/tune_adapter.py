"""Connect a `TrialScheduler` to Ray Tune: the adapter in the driver, and the reporter in a trial's process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ray import tune
from ray.tune import Stopper
from ray.tune.search import Searcher

from embsweep.runners.base import TrialScheduler
from embsweep.runners.ray.capacity import CapacityWatch
from embsweep.training.messages import (
    MESSAGE,
    AttemptAborted,
    Message,
    Outcome,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
)

P = ParamSpec("P")
R = TypeVar("R")

_MESSAGE = "message"
_WORKER_LOST = "loss of the process"
_PROCESS_DIED = "its process died (killed, out of memory, crashed, or its machine is gone)"


class TuneReporter:
    """Reporter of a trial in a Tune process. Tune stops a trial by raising SystemExit in `tune.report`."""

    is_stopped = False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`."""
        if self._send(started):
            raise AttemptAborted

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`."""
        return self._send(report)

    def finish(self, result: TrialResult) -> None:
        """See `Reporter.finish`."""
        self._send(result)

    def report_worker_loss(self, reason: str) -> None:
        """Report why this process is about to raise: workers died before the trial ended."""
        if not self.is_stopped:
            tune.report({_MESSAGE: "", _WORKER_LOST: reason})  # Tune requires its metric in every result

    def _send(self, message: Message) -> bool:
        """Send a message, unless the trial is stopped, and return whether it is: the driver has closed it then."""
        if not self.is_stopped:
            try:
                tune.report({_MESSAGE: MESSAGE.dump_json(message).decode()})
            except SystemExit:
                self.is_stopped = True
        return self.is_stopped


class TuneAdapter(Searcher, Stopper):
    """Tune's search algorithm and stopper: trials from the scheduler, and their messages and ends to it.

    The first exception of the scheduler, or of the watch, is kept as `failure` and ends the run; no further method is
    called, and the trials stay open in the ledger. Raised in Tune, it would mark the trial as failed, or become the
    text of another exception.

    Args:
        scheduler: Suggests the trials and records their reports.
        first: The first trial of the scheduler.
        capacity: Watches whether a trial still fits.
    """

    def __init__(self, scheduler: TrialScheduler, first: TrialSpec, capacity: CapacityWatch) -> None:
        super().__init__(metric=_MESSAGE, mode="max")
        self.scheduler = scheduler
        self.first: TrialSpec | None = first
        self.capacity = capacity
        self.open: dict[str, TrialSpec] = {}
        self.ends: dict[str, TrialResult | str] = {}
        self.failure: BaseException | None = None
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, None to be asked again, or FINISHED."""
        job, self.first = self.first or self._call(self.scheduler.suggest), None
        if job is None and self.open:
            return None  # an open trial may be lost, and be suggested again
        if job is None:
            self.is_exhausted = True
            return Searcher.FINISHED
        self.open[trial_id] = job
        return {"number": job.number, "job": job.model_dump_json()}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass a message of a trial's reporter to the scheduler; return True if the trial must stop.

        Args:
            trial_id: Tune's id of the trial.
            result: The dictionary that the reporter sent; at the end of its process, Tune repeats the last one.
        """
        if result.get("done"):
            return False
        if _WORKER_LOST in result:
            self.ends[trial_id] = result[_WORKER_LOST]
            return False
        job, message = self.open[trial_id], MESSAGE.validate_json(result[_MESSAGE])
        if isinstance(message, TrialStarted):
            self._call(self.scheduler.on_trial_start, job.number, message)
        elif isinstance(message, TrialResult):
            self.ends[trial_id] = message
        elif self._call(self.scheduler.on_trial_result, job.number, message):
            self.ends[trial_id] = _stopped(job, message)
            return True
        return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the result or the loss of a trial to the scheduler.

        Args:
            trial_id: Tune's id of the trial.
            result: The last result, unused: the result is that which the reporter sent.
            error: True if the trial's process failed.
        """
        end = self.ends.pop(trial_id, _PROCESS_DIED)
        if isinstance(end, TrialResult):
            self._call(self.scheduler.on_trial_complete, self.open.pop(trial_id).number, end)
        elif error:
            self._call(self.scheduler.on_trial_error, self.open.pop(trial_id).number, end)
        # otherwise Tune itself was interrupted, and the trial stays open in the ledger

    def stop_all(self) -> bool:
        """Return whether Tune must end all trials: the scheduler has failed, or no trial has fitted for long."""
        self._call(self.capacity.require)
        return self.failure is not None

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Save nothing: a sweep is resumed from its ledger."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles the stopper into its snapshot, which is never restored

    def _call(self, method: Callable[P, R], *args: P.args, **keywords: P.kwargs) -> R | None:
        """Return what `method` returns; None if it raises an exception, or an earlier one has."""
        if self.failure is None:
            try:
                return method(*args, **keywords)
            except Exception as error:
                self.failure = error
        return None


def _stopped(job: TrialSpec, last: TrialReport) -> TrialResult:
    """Return the result of a trial that the scheduler stopped at `last`; its best weights are in `job.best`."""
    outcome = Outcome.STOPPED if last.fraction < 1.0 else Outcome.COMPLETE
    return TrialResult(outcome, last.best_objective, str(job.best), time.time())
