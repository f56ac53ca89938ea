"""The ledger of a search whose trials pause at rungs, from which the best are promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from embsweep.config.search_space import Value
from embsweep.config.sweep import SearchConfig
from embsweep.search.points import Points
from embsweep.search.promotion import NewTrial, PromotionPlan, TrialProgress, choose_next, rank_paused
from embsweep.search.record import PROMOTION, RUNGS, TrialRecord, to_state
from embsweep.search.search import SearchLedger

_CLOSED = "closed"
"""Metadata: the largest number of trials for which the search was closed; none of its paused trials goes on."""


class PromotionLedger(SearchLedger):
    """A search ledger whose trials pause instead of being stopped.

    Optuna has no state for a paused trial; it stays RUNNING with the attribute `promotion`. The step until which a
    trial may run is in the same attribute, so that a pause and a promotion are one write each.

    Args:
        storage: Storage of Optuna's.
        points: Points of the space to search.
        search: Sampler, number of trials and seed.
        plan: Rungs and limits; the rungs with which the sweep began take precedence.
        recipe: Values of trial 0, without those that are outside their dimension.

    Raises:
        SweepRefused: If the study has another format.
    """

    def __init__(
        self,
        storage: BaseStorage,
        *,
        points: Points,
        search: SearchConfig,
        plan: PromotionPlan,
        recipe: Mapping[str, Value] | None = None,
    ) -> None:
        super().__init__(storage, points=points, search=search, pruner=NopPruner(), rungs=plan.rungs, recipe=recipe)
        self._rungs = tuple(self.metadata.get(RUNGS, plan.rungs))
        self._requested = replace(plan, rungs=self._rungs)

    def ask(self) -> TrialRecord | None:
        """Return the next trial: an interrupted one, a promoted one, a new one, or None; see `SearchLedger.ask`."""
        if interrupted := self._interrupted():
            return self._reopen(interrupted[0].number)
        if self._is_closed:
            return None
        match choose_next(self._plan, self._progress()):
            case None:
                return None
            case NewTrial(until):
                if not self._trials:
                    self.set_metadata(**{RUNGS: self._rungs})
                return self._draw({PROMOTION: _state(until)}) or self.ask()  # the budget is now spent
            case promotion:
                self._open.add(promotion.number)
                self.set_attributes(promotion.number, **{PROMOTION: _state(promotion.until, promoted=True)})
                return self.record(promotion.number)

    def should_stop(self, number: int) -> bool:
        """Return whether an open trial has reached the rung at which it pauses."""
        trial = self._trials[number]
        return (trial.last_step or 0) >= _until(trial)

    def stop(self, number: int) -> None:
        """Mark a trial as paused at its rung."""
        self.set_attributes(number, **{PROMOTION: {**self._trials[number].user_attrs[PROMOTION], "paused": True}})
        self._open.remove(number)

    def rank_paused(self) -> list[int]:
        """Return the numbers of the paused trials, those that will most likely go on first."""
        return rank_paused(self._plan, self._progress())

    def close(self) -> list[int]:
        """Stop the paused trials, because no more will run, and return their numbers."""
        self.set_metadata(**{_CLOSED: max(self.budget, self.metadata.get(_CLOSED, 0))})
        paused = self.rank_paused()
        for number in paused:
            self._open.add(number)
            self._close(number, TrialState.PRUNED, None)
        return paused

    @property
    def is_exhausted(self) -> bool:
        """True if the search was closed, and no trial is open or interrupted."""
        return self._is_closed and all(record.is_finished for record in self.trials)

    @property
    def expected_schedules(self) -> float:
        """Full schedules that the search will take, unless `search.schedules` limits it."""
        return self._plan.expected_schedules

    @property
    def _plan(self) -> PromotionPlan:
        return replace(self._requested, trials=self.budget)

    @property
    def _is_closed(self) -> bool:
        return bool(self.metadata.get(_CLOSED, 0) >= self.budget)

    def _progress(self) -> list[TrialProgress]:
        return [
            TrialProgress(
                trial.number,
                to_state(trial),
                trial.intermediate_values,
                _until(trial),
                is_recipe=self._plan.has_recipe and trial.number == 0,
            )
            for trial in self._trials
        ]


def _state(until: int, *, promoted: bool = False) -> dict[str, Any]:
    return {"until": until, "paused": False, "promoted": promoted}


def _until(trial: FrozenTrial) -> int:
    until: int = trial.user_attrs[PROMOTION]["until"]
    return until
