"""The ledger: one Optuna study in `study.db`, the only source of truth about a sweep.

Only the driver writes it. A trial's number, parameters, state, reported values and attributes are committed before any
process acts on them, so that after a crash the same command finds everything here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from embsweep.config.search_space import Space, Value, grid_values
from embsweep.config.sweep import SearchConfig
from embsweep.search.distributions import to_distributions
from embsweep.search.format import FORMAT_KEY, LEDGER_FORMAT, METADATA, STUDY, check_format
from embsweep.search.pruners import fraction_to_step
from embsweep.search.record import ABANDONED, ATTEMPT, PROCESS_LOSSES, STOP_AT, TrialRecord, to_record, was_started
from embsweep.search.samplers import build_sampler, sampling_threads
from embsweep.search.storage import forget_reports, open_storage


class Ledger:
    """One Optuna study. Trials are identified by number; `_open` holds those between Optuna's `ask` and `tell`."""

    def __init__(self, study: optuna.Study, space: Space, search: SearchConfig) -> None:
        self._study = study
        self._space = space
        self._search = search
        self._distributions: dict[str, BaseDistribution] = to_distributions(space)
        self._open: dict[int, Trial] = {}

    @classmethod
    def open(cls, path: Path, *, space: Space, search: SearchConfig, pruner: BasePruner, study: str = STUDY) -> Ledger:
        """Open the ledger at `path`, and create it if it does not exist.

        Args:
            path: The database file.
            space: Dimensions to search.
            search: Sampler, number of trials and seed.
            pruner: Decides which trials to stop.
            study: Name of the study, one of several in the same file.

        Raises:
            LedgerUnavailable: If the database cannot be read or written.
            SweepRefused: If the ledger has another format.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls.from_storage(open_storage(path), space=space, search=search, pruner=pruner, study=study)

    @classmethod
    def from_storage(
        cls, storage: BaseStorage, *, space: Space, search: SearchConfig, pruner: BasePruner, study: str = STUDY
    ) -> Ledger:
        """Open the ledger in a storage of Optuna's, and create the study if it does not exist.

        Args:
            storage: The storage.
            space: Dimensions to search.
            search: Sampler, number of trials and seed.
            pruner: Decides which trials to stop.
            study: Name of the study in the storage.

        Raises:
            SweepRefused: If the study has another format.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        opened = optuna.create_study(
            storage=storage, study_name=study, direction="maximize", load_if_exists=True, pruner=pruner
        )
        check_format(opened)
        ledger = cls(opened, space, search)
        if FORMAT_KEY not in ledger.metadata:
            ledger.set_metadata(**{FORMAT_KEY: LEDGER_FORMAT})
        return ledger

    # -- records ------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial that was ever started, by number; without queued ones and those abandoned before their start."""
        return tuple(to_record(trial) for trial in self._study.get_trials(deepcopy=False) if was_started(trial))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Notes of the sweep: its identity, its baselines, its result."""
        notes: dict[str, Any] = self._study.user_attrs.get(METADATA, {})
        return notes

    def set_metadata(self, **values: Any) -> None:
        """Add notes to `metadata`; values are plain JSON."""
        self._study.set_user_attr(METADATA, {**self.metadata, **values})

    # -- suggestions -------------------------------------------------------------------------------------------

    def enqueue_initial(self, recipe: Mapping[str, Value]) -> None:
        """Queue the known first points, once: the recipe as trial 0, and every cell of a grid.

        A grid whose queueing was interrupted is completed. `recipe` has no keys whose value is outside their dimension;
        the sampler draws these.
        """
        is_new = not self._study.get_trials(deepcopy=False)
        if is_new and recipe and self._search.recipe_first:
            self._study.enqueue_trial(dict(recipe))
        if self._search.sampler == "grid":
            self.enqueue(self._grid())

    def enqueue(self, points: Iterable[Mapping[str, Value]]) -> None:
        """Queue points that were neither queued nor tried before. The sampler `grid` tries only queued points."""
        for point in points:
            self._study.enqueue_trial(dict(point), skip_if_exists=True)

    def replace_queue(self, points: Sequence[Mapping[str, Value]], *, again: Collection[int] = ()) -> None:
        """Make `points` the queue; points that are already queued, open or finished are not queued again.

        Queued and interrupted trials whose point is not among `points` are abandoned (marked as failed).

        Args:
            points: The points that must be tried.
            again: Numbers of finished trials that do not count; their points are queued again.
        """
        alive = []
        for trial in self._study.get_trials(deepcopy=False):
            fixed = trial.system_attrs.get("fixed_params", {})
            params = {**fixed, **trial.params}  # a crash may have drawn only a part of `trial.params`
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
        """Return the next trial: an interrupted one under its own number, else a new one in the budget, else None."""
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
        """Number of trials of the sweep: `search.trials`, or the number of cells of its grid if that is smaller."""
        is_grid = self._search.sampler == "grid"
        grid_trials = len(self.trials) + len(self._queued()) if is_grid else self._search.trials
        return min(self._search.trials, grid_trials)

    @property
    def is_exhausted(self) -> bool:
        """True if the budget is spent, or every cell of the grid was tried, and no trial is open or interrupted."""
        return not self._has_budget() and all(record.is_finished for record in self.trials)

    def _has_budget(self) -> bool:
        within = len(self.trials) < self._search.trials
        return within and (self._search.sampler != "grid" or bool(self._queued()))

    def _queued(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def _reopen(self, number: int) -> TrialRecord:
        frozen = self._study.get_trials(deepcopy=False)[number]
        undrawn = self._distributions.keys() - frozen.params.keys()  # after a crash in the middle of `ask`
        if undrawn:
            self._study.sampler = build_sampler(self._search, number)
        with sampling_threads(self._search):
            trial = Trial(self._study, frozen._trial_id)  # how Optuna itself opens a trial of another process
            for key, distribution in self._distributions.items() if undrawn else ():
                if key not in undrawn:
                    self._skip_draw(trial, key, distribution)
                trial._suggest(key, distribution)
        self._open[number] = trial
        forget_reports(trial.storage, trial._trial_id)  # `record_replayed` writes those from which this attempt resumes
        self.set_attributes(number, **{ATTEMPT: self.record(number).attempt + 1})
        return self.record(number)

    def _skip_draw(self, trial: Trial, key: str, distribution: BaseDistribution) -> None:
        """Advance the sampler's RNG past an already drawn value, so that later draws are reproducible."""
        is_given = trial._is_fixed_param(key, distribution) or distribution.single()
        if not is_given and not trial._is_relative_param(key, distribution):
            bare = trial.storage.get_trial(trial._trial_id)
            self._study.sampler.sample_independent(self._study, bare, key, distribution)

    def record(self, number: int) -> TrialRecord:
        """Return the current record of one trial."""
        return to_record(self._study.get_trials(deepcopy=False)[number])

    # -- results ----------------------------------------------------------------------------------------------

    def set_attributes(self, number: int, **values: Any) -> None:
        """Add attributes to an open trial; values are plain JSON."""
        for name, value in values.items():
            self._open[number].set_user_attr(name, value)

    def record_replayed(self, number: int, fraction: float, best: float) -> None:
        """Record again a report of an earlier attempt, without a decision to stop.

        Args:
            number: The trial's number.
            fraction: Fraction of the schedule, in (0, 1].
            best: Running best objective.

        Raises:
            ValueError: If `best` is not finite.
        """
        self._record(number, fraction, best)

    def report(self, number: int, fraction: float, best: float) -> bool:
        """Record the running best at a fraction of the schedule, and decide if the trial should stop.

        Args:
            number: The trial's number.
            fraction: Fraction of the schedule, in (0, 1].
            best: Running best objective.

        Returns:
            True to stop. A repeated report of the step that stopped the trial returns True again, because Optuna's
            pruners evaluate each rung only once.

        Raises:
            ValueError: If `best` is not finite.
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
            raise ValueError(f"trial {number}: {best} is not a finite objective")
        step = fraction_to_step(fraction)
        # Directly to the storage, because Trial.report ignores a step that was already recorded.
        trial.storage.set_trial_intermediate_value(trial._trial_id, step, best)
        return step

    def complete(self, number: int, objective: float) -> None:
        """Mark a trial as complete: it ran its whole schedule, and `objective` is its best."""
        self._study.tell(self._open.pop(number), objective)

    def stop(self, number: int) -> None:
        """Mark a trial as stopped early; its value is the last reported running best."""
        self._study.tell(self._open.pop(number), state=TrialState.PRUNED)

    def mark_lost(self, number: int, reason: str) -> None:
        """Record that the trial's process died while the driver is alive; `ask` returns the trial again."""
        self.set_attributes(number, **{PROCESS_LOSSES: self.record(number).losses + 1, "lost": reason})
        self.reopen(number)

    def reopen(self, number: int) -> None:
        """Let `ask` return an open trial again, as its next attempt."""
        del self._open[number]

    def fail(self, number: int, reason: str) -> None:
        """Mark a trial as failed; the sampler ignores it."""
        self.set_attributes(number, reason=reason)
        self._study.tell(self._open.pop(number), state=TrialState.FAIL)
