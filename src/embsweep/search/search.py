"""The search: which points a sweep tries, in which order, and which trials it stops."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from embsweep.config.search_space import Choice, Dimension, IntRange, SearchSpace, Value, grid_values
from embsweep.config.sweep import SearchConfig
from embsweep.search.ledger import Ledger
from embsweep.search.record import STOP_AT, STUDY, TrialRecord
from embsweep.search.samplers import build_sampler, sampler_view, sampling_threads

_SAMPLER_STATE = "sampler_state"
"""Attribute of a trial: what its sampler keeps from one trial to the next (the position in a quasi-random sequence)."""


class SearchLedger(Ledger):
    """The ledger of the search phase, with its sampler, budget and pruner.

    Trial 0 is the recipe, if the configuration says so; its values outside the space are drawn, and on a grid are those
    of a cell. A new trial's values are drawn on a copy of the study in memory and then written in one transaction, so
    that a crash in between changes no later draw.

    Args:
        storage: Storage of Optuna's.
        space: Dimensions to search.
        search: Sampler, number of trials and seed.
        pruner: Decides which trials to stop.
        rungs: Steps at which trials are compared, for values that are carried to the end of the schedule.
        recipe: Values of trial 0, without those that are outside their dimension.

    Raises:
        SweepRefused: If the study has another format.
    """

    def __init__(
        self,
        storage: BaseStorage,
        *,
        space: SearchSpace,
        search: SearchConfig,
        pruner: BasePruner,
        rungs: Sequence[int],
        recipe: Mapping[str, Value] | None = None,
    ) -> None:
        super().__init__(storage, STUDY)
        self._study.pruner = pruner
        self._rungs = rungs
        self._search = search
        self._distributions = {dimension.key: to_distribution(dimension) for dimension in space}
        self._recipe = dict(recipe or {}) if search.recipe_first else {}
        self._cells = _grid(space, self._recipe) if search.sampler == "grid" else []

    def ask(self) -> TrialRecord | None:
        """Return the next trial: an interrupted one under its own number, else a new one in the budget, else None."""
        if interrupted := self._interrupted():
            return self._reopen(interrupted[0].number)
        return self._draw({}) if self._has_budget() else None

    @property
    def budget(self) -> int:
        """Number of trials of the sweep: `search.trials`, or the number of cells of its grid if that is smaller."""
        return min(self._search.trials, len(self._cells)) if self._cells else self._search.trials

    @property
    def is_exhausted(self) -> bool:
        """True if the budget is spent, or every cell of the grid was tried, and no trial is open or interrupted."""
        return not self._has_budget() and all(record.is_finished for record in self.trials)

    def should_stop(self, number: int) -> bool:
        """Return whether the pruner stops an open trial after its last report.

        The answer for the step that stopped the trial is recorded, because Optuna's pruners evaluate each rung only
        once, and a resumed trial repeats its last report. The pruner works on a copy of the study, so that the answer
        is recorded before the rung.
        """
        copy = self._copy_to(InMemoryStorage(), self._trials)
        trial = copy.get_trials(deepcopy=False)[number]
        if trial.last_step is not None and trial.user_attrs.get(STOP_AT) == trial.last_step:
            return True
        if should_stop := self._study.pruner.prune(copy, trial):
            self.set_attributes(number, **{STOP_AT: trial.last_step})
        for name, value in copy.get_trials(deepcopy=False)[number].system_attrs.items():
            self._storage.set_trial_system_attr(self._trial_id(number), name, value)
        self._refresh(number)
        return should_stop

    def _has_budget(self) -> bool:
        """Return whether a new trial may start, and finish, within the limits."""
        spent = sum(1.0 if trial.state == "running" else trial.fraction for trial in self.trials)
        limit = self._search.schedules
        return len(self.trials) < self.budget and (limit is None or spent + 1 <= limit)

    def _draw(self, attributes: Mapping[str, Any]) -> TrialRecord:
        """Start a new trial: the recipe, the next cell of the grid, or what the sampler draws."""
        trials = self._trials
        given = {} if trials else self._recipe
        if self._cells:
            tried = [trial.params for trial in trials]
            given = next(cell for cell in self._cells if cell not in tried)
        storage = InMemoryStorage()
        copy = self._copy_to(storage, sampler_view(trials, self._search, self._rungs))
        study_id = storage.get_study_id_from_name(STUDY)
        for name, value in trials[-1].user_attrs.get(_SAMPLER_STATE, {}).items() if trials else ():
            storage.set_study_system_attr(study_id, name, value)
        if given:
            copy.enqueue_trial(given)
        with sampling_threads(self._search):
            drawn = copy.ask(self._distributions)
        state = storage.get_study_system_attrs(study_id)
        own = {_SAMPLER_STATE: state} if state else {}
        return self._create(drawn.params, self._distributions, {**attributes, **own})

    def _copy_to(self, storage: InMemoryStorage, trials: Sequence[FrozenTrial]) -> optuna.Study:
        """Return a study of these trials, with the sampler of the next one.

        It has no pruner: beside Hyperband's, a sampler would learn from the trials of one bracket only.
        """
        copy = optuna.create_study(
            storage=storage,
            study_name=STUDY,
            direction="maximize",
            sampler=build_sampler(self._search, len(self._trials)),
        )
        copy.add_trials(trials)
        return copy


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's counterpart of one dimension; both include the two ends of a range."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _grid(space: SearchSpace, recipe: Mapping[str, Value]) -> list[dict[str, Value]]:
    """Return every cell in order, but those with the recipe's values first."""
    axes = [grid_values(dimension) or () for dimension in space]
    keys = [dimension.key for dimension in space]
    cells = [dict(zip(keys, values, strict=True)) for values in itertools.product(*axes)]
    return sorted(cells, key=lambda cell: not recipe.items() <= cell.items())
