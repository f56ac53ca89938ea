"""Let an exception of the scheduler end a Tune run unchanged.

Tune would mark the trial as failed for it, or wrap it in an exception with the traceback as its text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ray.tune import Stopper

from embsweep.runners.base import TrialScheduler
from embsweep.training.messages import TrialReport, TrialResult, TrialSpec, TrialStarted

Result = TypeVar("Result")


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
