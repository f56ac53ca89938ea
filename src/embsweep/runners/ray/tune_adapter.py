"""Connect a `TrialScheduler` to Ray Tune in the driver; `TuneReporter` sends the messages of a trial's process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ray.tune import Stopper
from ray.tune.search import Searcher

from embsweep.runners.attempt import describe_broken_context
from embsweep.runners.base import TrialScheduler
from embsweep.runners.ray.capacity import CapacityWatch
from embsweep.runners.ray.gpu_health import Card, GpuHealth
from embsweep.runners.ray.gpu_placement import GpuPlacement
from embsweep.runners.ray.tune_reporter import GPU_KEY, MESSAGE_KEY, WORKER_LOST_KEY
from embsweep.training.messages import (
    MESSAGE,
    Outcome,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
)

P = ParamSpec("P")
R = TypeVar("R")

_PROCESS_DIED = "its process died (killed, out of memory, crashed, or its machine is gone)"


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
        super().__init__(metric=MESSAGE_KEY, mode="max")
        self.scheduler = scheduler
        self.capacity = capacity
        health = GpuHealth(capacity.can_spare, lambda text: self._call(scheduler.on_warning, text))
        self.placement = GpuPlacement(health, lambda: self._call(scheduler.suggest))
        self.placement.waiting.append(first)
        self.open: dict[str, TrialSpec] = {}
        self.ends: dict[str, TrialResult | str] = {}
        self.failure: BaseException | None = None
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, None to be asked again, or FINISHED."""
        if len(self.open) >= self.capacity.count_at_once(len(self.placement.holding)):
            return None
        job = self.placement.take_next() if self.failure is None else None
        if job is None and self.open:
            return None  # an open trial may be lost, and be suggested again
        if job is None:
            self.is_exhausted = True
            return Searcher.FINISHED
        self.open[trial_id] = job
        out_of_use = self.placement.announce(trial_id)
        return {"number": job.number, "job": job.model_dump_json(), "out_of_use": out_of_use}

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Return True: `suggest` limits the open trials, because Tune would count processes that hold a GPU as such."""
        return True

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass a message of a trial's reporter to the scheduler; return True if the trial must stop.

        Args:
            trial_id: Tune's id of the trial.
            result: The dictionary that the reporter sent; at the end of its process, Tune repeats the last one.
        """
        if result.get("done"):
            return False
        if WORKER_LOST_KEY in result:
            self.ends[trial_id] = result[WORKER_LOST_KEY]
            return False
        if GPU_KEY in result:
            return not self._claim_gpu(trial_id, Card(**result[GPU_KEY]))
        job, message = self.open[trial_id], MESSAGE.validate_json(result[MESSAGE_KEY])
        if isinstance(message, TrialStarted):
            self._call(self.scheduler.on_trial_start, job.number, message)
        elif isinstance(message, TrialResult):
            self.ends[trial_id] = message
        elif self._call(self.scheduler.on_trial_result, job.number, message):
            self.ends[trial_id] = _stopped(job, message)
            return True
        return False

    def _claim_gpu(self, trial_id: str, card: Card) -> bool:
        """Return whether a process goes on: to run its trial on its GPU, or to hold a GPU out of use without one."""
        if trial_id in self.placement.holding:
            return not self.is_exhausted and self.placement.must_hold(trial_id)
        if self.placement.may_run(trial_id, self.open[trial_id], card):
            return True
        del self.open[trial_id]
        return trial_id in self.placement.holding

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the result or the loss of a trial to the scheduler.

        Args:
            trial_id: Tune's id of the trial.
            result: The last result, unused: the result is that which the reporter sent.
            error: True if the trial's process failed.
        """
        end, card = self.ends.pop(trial_id, _PROCESS_DIED), self.placement.release(trial_id)
        if trial_id not in self.open:
            return  # the trial was put back, since it was not to run on the GPU of that process
        if isinstance(end, TrialResult):
            self._close(self.open.pop(trial_id).number, end, card)
        elif error:
            self._call(self.scheduler.on_trial_error, self.open.pop(trial_id).number, end)
        # otherwise Tune itself was interrupted, and the trial stays open in the ledger

    def _close(self, number: int, result: TrialResult, card: Card | None) -> None:
        """Pass the result of a trial to the scheduler; a broken CUDA context is the loss of a process."""
        health = self.placement.health
        if not result.context_broken:
            if card is not None and result.outcome is not Outcome.FAILED:
                health.record_end(card)
            self._call(self.scheduler.on_trial_complete, number, result)
            return
        reason = describe_broken_context(result)
        if card is None:
            self._call(self.scheduler.on_trial_error, number, reason)
        elif health.record_break(card, number, reason):
            why = f"{reason}; on a second GPU ({card}), so that the trial itself is the cause"
            self._call(self.scheduler.on_trial_complete, number, TrialResult.failed(why))
        else:
            self._call(self.scheduler.on_trial_error, number, f"{reason} ({card})")

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
