"""The search: which points a sweep tries, in which order, and which trials it stops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from embsweep.config.search_space import Choice, Dimension, IntRange, Value
from embsweep.config.sweep import SearchConfig
from embsweep.search.ledger import Ledger
from embsweep.search.points import Points
from embsweep.search.record import REDRAWN, STOP_AT, STUDY, TrialRecord
from embsweep.search.samplers import build_sampler, random_points, sampler_view, sampling_threads

_SAMPLER_STATE = "sampler_state"
"""Attribute of a trial: what its sampler keeps from one trial to the next (the position in a quasi-random sequence)."""

_EXHAUSTED = "exhausted"
"""Metadata: the number of trials after which no further point was found that is possible and new."""

_SAMPLER_DRAWS = 3
"""Draws of a sampler for one trial. A model may draw the same impossible or known point each time."""

RANDOM_DRAWS = 1000
"""Points that are drawn at random after these, before a space that cannot be listed counts as exhausted."""


class SearchLedger(Ledger):
    """The ledger of the search phase, with its sampler, budget and pruner.

    Trial 0 is the recipe, if the configuration says so; its values outside the space are drawn, and on a grid are those
    of a cell. A new trial's values are drawn on a copy of the study in memory and then written in one transaction, so
    that a crash in between changes no later draw. A point that is impossible, or whose configuration an earlier trial
    has, is drawn again.

    Args:
        storage: Storage of Optuna's.
        points: Points of the space to search.
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
        points: Points,
        search: SearchConfig,
        pruner: BasePruner,
        rungs: Sequence[int],
        recipe: Mapping[str, Value] | None = None,
    ) -> None:
        super().__init__(storage, STUDY)
        self._study.pruner = pruner
        self._rungs = rungs
        self._search = search
        self._distributions = {dimension.key: to_distribution(dimension) for dimension in points.space}
        self._recipe = dict(recipe or {}) if search.recipe_first else {}
        self._points = points
        self._most = len(self._trials) + count_points(points, search.trials - len(self._trials), self._tried())

    def ask(self) -> TrialRecord | None:
        """Return the next trial: an interrupted one under its own number, else a new one in the budget, else None."""
        if interrupted := self._interrupted():
            return self._reopen(interrupted[0].number)
        return self._draw({}) if self._has_budget() else None

    @property
    def budget(self) -> int:
        """Number of trials of the sweep: `search.trials`, or as many as its space has configurations."""
        return int(min(self._search.trials, self._most, self.metadata.get(_EXHAUSTED, math.inf)))

    @property
    def has_run_out(self) -> bool:
        """True if the search ended early, because no further point was found that is possible and new."""
        return _EXHAUSTED in self.metadata

    @property
    def is_exhausted(self) -> bool:
        """True if the budget is spent, or every configuration was tried, and no trial is open or interrupted."""
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

    def _tried(self) -> set[str | None]:
        return {self._points.identity(trial.params) for trial in self._trials}

    def _draw(self, attributes: Mapping[str, Any]) -> TrialRecord | None:
        """Start a new trial: the recipe, the next cell of the grid, or what the sampler draws.

        Returns:
            Its record; None if no point was found that is possible and new, which is then recorded.
        """
        tried = self._tried()
        redrawn: dict[str, int] = {}
        taught: list[dict[str, Value]] = []
        for params, own in self._candidates(tried, taught):
            identity = self._points.identity(params)
            if identity is not None and identity not in tried:
                notes = {REDRAWN: {**redrawn, "points": taught}} if redrawn else {}
                return self._create(params, self._distributions, {**attributes, **own, **notes})
            kind = "impossible" if identity is None else "repeated"
            redrawn[kind] = redrawn.get(kind, 0) + 1
        self.set_metadata(**{_EXHAUSTED: len(self._trials)})
        return None

    def _candidates(
        self, tried: set[str | None], taught: list[dict[str, Value]]
    ) -> Iterator[tuple[Mapping[str, Value], Mapping[str, Any]]]:
        """Yield points for the next trial until one is accepted, with attributes of its trial.

        They are functions of the ledger alone. The impossible ones of the sampler are added to `taught`.
        """
        if self._points.is_grid:
            yield from ((cell, {}) for cell in self._points.distinct(tried, first=self._recipe))
            return
        yield from self._suggest(taught)
        seed = (self._search.seed, len(self._trials))
        if self._points.can_be_listed:
            rest = list(self._points.distinct(tried))
            yield from ((rest[i], {}) for i in np.random.default_rng(seed).permutation(len(rest)))
        else:
            drawn = random_points(self._distributions, seed)
            yield from ((params, {}) for params in itertools.islice(drawn, RANDOM_DRAWS))

    def _suggest(self, taught: list[dict[str, Value]]) -> Iterator[tuple[Mapping[str, Value], Mapping[str, Any]]]:
        """Yield draws of the sampler; the first impossible ones count as the worst points for the next ones."""
        trials = self._trials
        given = {} if trials else self._recipe
        storage = InMemoryStorage()
        view = sampler_view(trials, self._search, self._rungs, self._distributions)
        copy = self._copy_to(storage, view)
        study_id = storage.get_study_id_from_name(STUDY)
        for name, value in trials[-1].user_attrs.get(_SAMPLER_STATE, {}).items() if trials else ():
            storage.set_study_system_attr(study_id, name, value)
        for draw in range(_SAMPLER_DRAWS):
            copy.sampler = build_sampler(self._search, len(trials), draw)
            if given:
                copy.enqueue_trial(given)
            with sampling_threads(self._search):
                drawn = copy.ask(self._distributions)
            state = storage.get_study_system_attrs(study_id)
            yield drawn.params, {_SAMPLER_STATE: state} if state else {}
            worst = min((trial.values[0] for trial in view if trial.state == TrialState.COMPLETE), default=None)
            if self._points.identity(drawn.params) is None:
                taught.append(drawn.params)
                if worst is not None:
                    copy.tell(drawn, worst)

    def _copy_to(self, storage: InMemoryStorage, trials: Sequence[FrozenTrial]) -> optuna.Study:
        """Return a study of these trials.

        It has no pruner: beside Hyperband's, a sampler would learn from the trials of one bracket only.
        """
        copy = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
        copy.add_trials(trials)
        return copy


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's counterpart of one dimension; both include the two ends of a range."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def count_points(points: Points, most: int, tried: Collection[str | None] = ()) -> float:
    """Return how many further trials a space has configurations for: at most `most`, infinite if it cannot be listed.

    Args:
        points: The points of the space.
        most: Number at which counting ends.
        tried: Configurations that do not count.
    """
    if not points.can_be_listed:
        return math.inf
    return sum(1 for _ in itertools.islice(points.distinct(tried), max(0, most)))
