"""The ledger: one Optuna study in `study.db`, the only source of truth about a sweep.

Only the driver writes it. A trial's number, parameters, state, reported values and attributes are committed
before anyone acts on them, so that after a crash the same command finds everything here.

Between a search space and Optuna's distributions, there and back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import DatabaseError

from embsweep.config.search_space import Choice, Dimension, FloatRange, IntRange, Space, Value, grid_values
from embsweep.config.sweep import SearchConfig
from embsweep.core.errors import CodedError
from embsweep.search.pruners import fraction_to_step
from embsweep.search.record import ABANDONED, ATTEMPT, PROCESS_LOSSES, STOP_AT, TrialRecord, to_record, was_started
from embsweep.search.samplers import build_sampler, sampling_threads
from embsweep.search.storage import forget_reports, open_storage


def to_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Key → distribution; both ends of a range are included on either side."""
    return {dimension.key: to_distribution(dimension) for dimension in space}


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's counterpart of one dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def from_distribution(key: str, distribution: BaseDistribution) -> Dimension:
    """The dimension that `to_distribution` made it from. TypeError for a distribution it never makes."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(key, tuple(str(choice) for choice in distribution.choices))
    if isinstance(distribution, IntDistribution):
        return IntRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    if isinstance(distribution, FloatDistribution):
        return FloatRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    raise TypeError(f"{type(distribution).__name__} for {key}")


STUDY = "sweep"
_METADATA = "embsweep"


class Ledger:
    """Guards one study. Trials are known by number; open ones are kept by hand between ask and tell."""

    def __init__(self, study: optuna.Study, space: Space, search: SearchConfig) -> None:
        self._study = study
        self._space = space
        self._search = search
        self._distributions: dict[str, BaseDistribution] = to_distributions(space)
        self._open: dict[int, Trial] = {}

    @classmethod
    def open(cls, path: Path, *, space: Space, search: SearchConfig, pruner: BasePruner, study: str = STUDY) -> Ledger:
        """Open the ledger at `path`, created where there is none. `study` names one of several in the same file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls.over(open_storage(path), space=space, search=search, pruner=pruner, study=study)

    @classmethod
    def over(
        cls, storage: BaseStorage, *, space: Space, search: SearchConfig, pruner: BasePruner, study: str = STUDY
    ) -> Ledger:
        """Open the ledger in a storage of Optuna's."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        opened = optuna.create_study(
            storage=storage,
            study_name=study,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner,
        )
        return cls(opened, space, search)

    # -- what is known ---------------------------------------------------------------------------------------

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial that was ever started, by number; those only queued are not among them, nor given up before."""
        return tuple(to_record(trial) for trial in self._study.get_trials(deepcopy=False) if was_started(trial))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the sweep wrote about itself: its identity, its baselines, its result."""
        found: dict[str, Any] = self._study.user_attrs.get(_METADATA, {})
        return found

    def set_metadata(self, **values: Any) -> None:
        """Add to the notes; values are plain JSON."""
        self._study.set_user_attr(_METADATA, {**self.metadata, **values})

    # -- what to try -----------------------------------------------------------------------------------------

    def enqueue_initial(self, recipe: Mapping[str, Value]) -> None:
        """Queue the known first points, once: the recipe as trial 0, and every cell of a grid.

        A grid whose queueing was interrupted is completed.
        Keys of the recipe that lie outside their dimension are absent from it and left to the sampler.
        """
        is_new = not self._study.get_trials(deepcopy=False)
        if is_new and recipe and self._search.recipe_first:
            self._study.enqueue_trial(dict(recipe))
        if self._search.sampler == "grid":
            self.enqueue(self._grid())

    def enqueue(self, points: Iterable[Mapping[str, Value]]) -> None:
        """Queue points that were neither queued nor tried before. With the sampler `grid` nothing else is tried."""
        for point in points:
            self._study.enqueue_trial(dict(point), skip_if_exists=True)

    def replace_queue(self, points: Sequence[Mapping[str, Value]], *, again: Collection[int] = ()) -> None:
        """Queue points that are neither queued, open nor over; what trials of `again` tried counts as never tried.

        What is queued or was interrupted but is not among `points` is given up.
        """
        alive = []
        for trial in self._study.get_trials(deepcopy=False):
            fixed = trial.system_attrs.get("fixed_params", {})
            params = {**fixed, **trial.params}  # a crash may have left a part of the latter
            if trial.state.is_finished():
                alive += [] if trial.number in again or ABANDONED in trial.user_attrs else [params]
            elif params in points:
                alive.append(params)
            else:
                self._study._storage.set_trial_user_attr(trial._trial_id, ABANDONED, True)
                self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        for point in points:
            if point not in alive:
                self._study.enqueue_trial(dict(point))

    def _grid(self) -> list[dict[str, Value]]:
        axes = [grid_values(dimension) or () for dimension in self._space]
        keys = [dimension.key for dimension in self._space]
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*axes)]

    def ask(self) -> TrialRecord | None:
        """The next trial: an interrupted one under its own number, else a new one within the budget, else None."""
        interrupted = [r.number for r in self.trials if r.state == "running" and r.number not in self._open]
        if interrupted:
            return self._reopen(min(interrupted))
        if not self._has_budget():
            return None
        self._study.sampler = build_sampler(self._search, len(self.trials))
        with sampling_threads(self._search):
            trial = self._study.ask(self._distributions)
        self._open[trial.number] = trial
        self.set_attributes(trial.number, **{ATTEMPT: 1})
        return self.record(trial.number)

    @property
    def budget(self) -> int:
        """How many trials the sweep will have: those asked for, or the cells of its grid where these are fewer."""
        is_grid = self._search.sampler == "grid"
        laid_out = len(self.trials) + len(self._queued()) if is_grid else self._search.trials
        return min(self._search.trials, laid_out)

    @property
    def is_exhausted(self) -> bool:
        """Whether the whole budget, or every cell of the grid, was tried, and no trial is open or interrupted."""
        return not self._has_budget() and all(record.is_finished for record in self.trials)

    def _has_budget(self) -> bool:
        within = len(self.trials) < self._search.trials
        return within and (self._search.sampler != "grid" or bool(self._queued()))

    def _queued(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def _reopen(self, number: int) -> TrialRecord:
        frozen = self._study.get_trials(deepcopy=False)[number]
        undrawn = self._distributions.keys() - frozen.params.keys()  # by a crash in the middle of `ask`
        if undrawn:
            self._study.sampler = build_sampler(self._search, number)
        with sampling_threads(self._search):
            trial = Trial(self._study, frozen._trial_id)  # Optuna's own way for a trial of another process
            for key, distribution in self._distributions.items() if undrawn else ():
                if key not in undrawn:
                    self._skip_draw(trial, key, distribution)
                trial._suggest(key, distribution)
        self._open[number] = trial
        forget_reports(trial.storage, trial._trial_id)  # what this attempt goes on from comes again by `replay`
        self.set_attributes(number, **{ATTEMPT: self.record(number).attempt + 1})
        return self.record(number)

    def _skip_draw(self, trial: Trial, key: str, distribution: BaseDistribution) -> None:
        """Spend the random numbers that this value took, so that those after it come out as if nothing had been."""
        is_given = trial._is_fixed_param(key, distribution) or distribution.single()
        if not is_given and not trial._is_relative_param(key, distribution):
            bare = trial.storage.get_trial(trial._trial_id)
            self._study.sampler.sample_independent(self._study, bare, key, distribution)

    def record(self, number: int) -> TrialRecord:
        """One trial as it stands."""
        return to_record(self._study.get_trials(deepcopy=False)[number])

    # -- what came of it -------------------------------------------------------------------------------------

    def set_attributes(self, number: int, **values: Any) -> None:
        """Add attributes to a trial that is open; values are plain JSON."""
        for name, value in values.items():
            self._open[number].set_user_attr(name, value)

    def record_replayed(self, number: int, fraction: float, best: float) -> None:
        """Record again what an earlier attempt has reported; nothing is decided."""
        self._record(number, fraction, best)

    def report(self, number: int, fraction: float, best: float) -> bool:
        """Record the running best at a fraction of the schedule; True if the trial should stop.

        A stop is given again to a report that comes again: Optuna's pruners look at each rung once.
        """
        step = self._record(number, fraction, best)
        trial = self._open[number]
        if self.record(number).attributes.get(STOP_AT) == step:
            return True
        should_stop = bool(self._study.pruner.prune(self._study, trial.storage.get_trial(trial._trial_id)))
        if should_stop:
            self.set_attributes(number, **{STOP_AT: step})
        return should_stop

    def _record(self, number: int, fraction: float, best: float) -> int:
        trial = self._open[number]
        if not math.isfinite(best):
            raise ValueError(f"trial {number}: {best} is no objective")
        step = fraction_to_step(fraction)
        # Through the storage: Trial.report ignores a step that was replayed.
        trial.storage.set_trial_intermediate_value(trial._trial_id, step, best)
        return step

    def complete(self, number: int, objective: float) -> None:
        """The trial ran its whole schedule; `objective` is its best."""
        self._study.tell(self._open.pop(number), objective)

    def stop(self, number: int) -> None:
        """The trial was stopped early; its value is the last reported running best."""
        self._study.tell(self._open.pop(number), state=TrialState.PRUNED)

    def mark_lost(self, number: int, reason: str) -> None:
        """The trial's process is gone under a driver that lives on: `ask` gives it once more."""
        self.set_attributes(number, **{PROCESS_LOSSES: self.record(number).losses + 1, "lost": reason})
        del self._open[number]

    def fail(self, number: int, reason: str) -> None:
        """The trial failed; the sampler leaves it out."""
        self.set_attributes(number, reason=reason)
        self._study.tell(self._open.pop(number), state=TrialState.FAIL)


def read_ledger(path: Path) -> tuple[Mapping[str, Any], tuple[TrialRecord, ...]] | None:
    """Notes and trials of a ledger without changing it; None where there is none. CodedError for a damaged one."""
    if not path.is_file():
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.load_study(storage=open_storage(path), study_name=STUDY)
    except KeyError:
        return None
    except (DatabaseError, StorageInternalError) as error:
        said = f"{path}: is no readable ledger ({str(error).splitlines()[0]})"
        raise CodedError("unreadable", said) from None
    ledger = Ledger(study, (), _ANY_SEARCH)
    return ledger.metadata, ledger.trials


_ANY_SEARCH = SearchConfig(sampler="random", trials=1, seed=0, recipe_first=False)
