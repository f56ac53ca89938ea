"""The ledger of a confirmation, whose runs are planned and not drawn."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage

from embsweep.search.ledger import Ledger
from embsweep.search.record import TrialRecord

Point = dict[str, int]
"""Parameters of a run: trial number, seed and, with cross-validation, fold."""

_DROPPED = "no longer planned"
_ANY_NUMBER = IntDistribution(0, 2**31 - 1)


def was_dropped(record: TrialRecord) -> bool:
    """Return whether a run was interrupted and then given up because it was no longer planned: it has no result."""
    return record.attributes.get("reason") == _DROPPED


class ConfirmationLedger(Ledger):
    """A study of its own, because the search's sampler must not learn from these runs.

    Args:
        storage: Storage of Optuna's.
        study: Name of the study.
        points: Parameters of the planned runs, in the order in which they start.
        again: Numbers of finished runs that do not count; their points are run again.

    Raises:
        SweepRefused: If the study has another format.
    """

    def __init__(
        self, storage: BaseStorage, study: str, points: Sequence[Point], *, again: Collection[int] = ()
    ) -> None:
        super().__init__(storage, study)
        self._points, self._again = points, frozenset(again)

    def ask(self) -> TrialRecord | None:
        """Return the next planned run: an interrupted one under its own number, else the next one without a record.

        Interrupted runs that are no longer planned, because the finalists have changed, are marked as failed; if they
        are planned later, they are run again.
        """
        for record in self._interrupted():
            if record.params in self._points:
                return self._reopen(record.number)
            self._open.add(record.number)
            self.set_attributes(record.number, ended_at=time.time())
            self.fail(record.number, _DROPPED)
        known = [r.params for r in self.trials if r.number not in self._again and not was_dropped(r)]
        point = next((point for point in self._points if point not in known), None)
        return None if point is None else self._create(point, dict.fromkeys(point, _ANY_NUMBER))
