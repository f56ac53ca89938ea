"""What a desk raises inside Tune: it ends the run as itself. Tune would blame the trial, or wrap it in a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ray.tune import Stopper

from embsweep.runners.base import Desk
from embsweep.training.messages import Report, Started, TrialJob, TrialResult

Answer = TypeVar("Answer")


class GuardedDesk:
    """Hands everything on to `inner` until that raises: `failure` is what it raised, and no call passes any more."""

    def __init__(self, inner: Desk) -> None:
        self.inner = inner
        self.failure: Exception | None = None

    def next_job(self) -> TrialJob | None:
        """See `Desk.next_job`."""
        return self._ask(self.inner.next_job, None)

    def started(self, number: int, started: Started) -> None:
        """See `Desk.started`."""
        self._ask(lambda: self.inner.started(number, started), None)

    def report(self, number: int, report: Report) -> bool:
        """See `Desk.report`."""
        return self._ask(lambda: self.inner.report(number, report), False)

    def finished(self, number: int, result: TrialResult) -> None:
        """See `Desk.finished`."""
        self._ask(lambda: self.inner.finished(number, result), None)

    def lost(self, number: int, reason: str) -> None:
        """See `Desk.lost`."""
        self._ask(lambda: self.inner.lost(number, reason), None)

    def _ask(self, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
        if self.failure is not None:
            return otherwise
        try:
            return ask()
        except Exception as error:
            self.failure = error
            return otherwise


class EndWithDesk(Stopper):
    """Has Tune end all trials once the desk has failed; they stay open in the ledger."""

    def __init__(self, desk: GuardedDesk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one trial should end: that is the scheduler's to say."""
        return False

    def stop_all(self) -> bool:
        """Whether all should."""
        return self._desk.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves it; nothing is resumed from there
