"""What a desk raises inside Tune: it ends the run as itself. Tune would blame the trial, or wrap it in a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ray.tune import Stopper

from embsweep.runners.base import TrialScheduler
from embsweep.training.messages import TrialReport, TrialResult, TrialSpec, TrialStarted

Result = TypeVar("Result")


class ExceptionCapturingScheduler:
    """Hands everything on to `inner` until that raises: `failure` is what it raised, and no call passes any more."""

    def __init__(self, inner: TrialScheduler) -> None:
        self.inner = inner
        self.failure: Exception | None = None

    def suggest(self) -> TrialSpec | None:
        """See `TrialScheduler.suggest`."""
        return self._call(self.inner.suggest, None)

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """See `TrialScheduler.on_trial_start`."""
        self._call(lambda: self.inner.on_trial_start(number, started), None)

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """See `TrialScheduler.on_trial_result`."""
        return self._call(lambda: self.inner.on_trial_result(number, report), False)

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """See `TrialScheduler.on_trial_complete`."""
        self._call(lambda: self.inner.on_trial_complete(number, result), None)

    def on_trial_error(self, number: int, reason: str) -> None:
        """See `TrialScheduler.on_trial_error`."""
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
    """Has Tune end all trials once the desk has failed; they stay open in the ledger."""

    def __init__(self, scheduler: ExceptionCapturingScheduler) -> None:
        self._scheduler = scheduler

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one trial should end: that is the scheduler's to say."""
        return False

    def stop_all(self) -> bool:
        """Whether all should."""
        return self._scheduler.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves it; nothing is resumed from there
