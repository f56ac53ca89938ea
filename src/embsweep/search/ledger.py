"""The ledger: Optuna studies in `study.db`, the only source of truth about a sweep.

Only the driver writes it. A trial's number, parameters, state, reports and attributes are committed before any process
acts on them, so that after a crash the same command finds everything here. MLflow, the screen and the model card are
derived from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from embsweep.config.search_space import Value
from embsweep.search.pruners import fraction_to_step
from embsweep.search.record import (
    ATTEMPT,
    FORMAT_KEY,
    LEDGER_FORMAT,
    METADATA,
    PROCESS_LOSSES,
    REPORT,
    STUDY,
    TrialRecord,
    require_format,
    to_record,
)
from embsweep.search.storage import forget_values
from embsweep.training.messages import REPORTS, TrialReport


class Ledger:
    """One Optuna study, with one trial per run. Trials are identified by number.

    A subclass decides which trial comes next (`ask`) and which is stopped (`should_stop`). `_open` holds the numbers of
    the running trials that this process has started; any other running trial was interrupted. `_trials` has every trial
    as the storage has it: only this process writes them, and Optuna would read all paused ones again for each event.

    Args:
        storage: Storage of Optuna's that holds the study; it is created if it does not exist.
        study: Name of the study, one of several in the same storage.

    Raises:
        SweepRefused: If the study has another format.
    """

    def __init__(self, storage: BaseStorage, study: str = STUDY) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = storage
        self._study = optuna.create_study(storage=storage, study_name=study, direction="maximize", load_if_exists=True)
        self._study_id = storage.get_study_id_from_name(study)
        self._open: set[int] = set()
        self._trials = self._study.get_trials(deepcopy=False)
        require_format(study, self.metadata)
        if FORMAT_KEY not in self.metadata:
            self.set_metadata(**{FORMAT_KEY: LEDGER_FORMAT})

    # -- records ------------------------------------------------------------------------------------------------

    @property
    def study(self) -> str:
        """Name of the study."""
        return self._study.study_name

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, by number."""
        return tuple(to_record(trial) for trial in self._trials)

    def record(self, number: int) -> TrialRecord:
        """Return the current record of one trial."""
        return to_record(self._trials[number])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Notes of the sweep: its identity, its baselines, its result."""
        notes: dict[str, Any] = self._study.user_attrs.get(METADATA, {})
        return notes

    def set_metadata(self, **values: Any) -> None:
        """Add notes to `metadata`; values are plain JSON."""
        self._study.set_user_attr(METADATA, {**self.metadata, **values})

    # -- starts -------------------------------------------------------------------------------------------------

    def ask(self) -> TrialRecord | None:
        """Return the next trial, which is then open: an interrupted one under its own number, a new one, or None."""
        raise NotImplementedError

    def should_stop(self, number: int) -> bool:
        """Return whether an open trial should stop after its last report."""
        return False

    def rank_paused(self) -> list[int]:
        """Return the numbers of the paused trials, those that will most likely go on first."""
        return []

    def close(self) -> list[int]:
        """Stop the paused trials, because no more will run, and return their numbers."""
        return []

    def _interrupted(self) -> list[TrialRecord]:
        """Return the running trials whose process or driver died."""
        return [record for record in self.trials if record.state == "running" and record.number not in self._open]

    def _create(
        self,
        params: Mapping[str, Value],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any] | None = None,
    ) -> TrialRecord:
        """Start a new trial in one transaction, so that a crash leaves it whole or absent."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={ATTEMPT: 1, **(attributes or {})},
        )
        trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
        self._trials.append(self._storage.get_trial(trial_id))
        number = self._trials[-1].number
        self._open.add(number)
        return self.record(number)

    def _reopen(self, number: int) -> TrialRecord:
        """Start an interrupted trial again; its reports count again when this attempt repeats them."""
        forget_values(self._storage, self._trial_id(number))
        self._open.add(number)
        self.set_attributes(number, **{ATTEMPT: self.record(number).attempt + 1})
        return self.record(number)

    # -- results ------------------------------------------------------------------------------------------------

    def set_attributes(self, number: int, **values: Any) -> None:
        """Add attributes to an open trial; values are plain JSON.

        Raises:
            KeyError: If this process has not started the trial, or has ended it.
        """
        self._require_open(number)
        trial_id = self._trial_id(number)
        for name, value in values.items():
            self._storage.set_trial_user_attr(trial_id, name, value)
        self._refresh(number)

    def report(self, number: int, report: TrialReport) -> bool:
        """Record a report of an open trial, and return whether the trial should stop."""
        self.record_report(number, report)
        return self.should_stop(number)

    def record_report(self, number: int, report: TrialReport) -> None:
        """Record a report of an open trial, without a decision to stop.

        The report comes first, as an attribute of its own; then the running best, which samplers and pruners read. A
        report without the latter does not count (`TrialRecord.reports`). After a crash between the two, the trial's
        next attempt reports again.

        A report that equals an earlier attempt's keeps that one's time, so that MLflow has one point and not two.

        Args:
            number: The trial's number.
            report: The report.

        Raises:
            KeyError: If this process has not started the trial, or has ended it.
        """
        known = self.record(number).all_reports.get(report.step)
        if known is not None and known.objective == report.objective:
            report = dataclasses.replace(report, reported_at=known.reported_at)
        self.set_attributes(number, **{f"{REPORT}{report.step}": REPORTS.dump_python((report,), mode="json")[0]})
        step = fraction_to_step(report.fraction)
        self._storage.set_trial_intermediate_value(self._trial_id(number), step, report.best_objective)
        self._refresh(number)

    def complete(self, number: int, objective: float) -> None:
        """Mark a trial as complete: it ran its whole schedule, and `objective` is its best."""
        self._close(number, TrialState.COMPLETE, objective)

    def stop(self, number: int) -> None:
        """Mark a trial as stopped early; its value is the last reported running best."""
        self._close(number, TrialState.PRUNED, None)

    def fail(self, number: int, reason: str) -> None:
        """Mark a trial as failed; the sampler ignores it."""
        self.set_attributes(number, reason=reason)
        self._close(number, TrialState.FAIL, None)

    def mark_lost(self, number: int, reason: str) -> None:
        """Record that the trial's process died while the driver is alive; `ask` returns the trial again."""
        self.set_attributes(number, **{PROCESS_LOSSES: self.record(number).losses + 1, "lost": reason})
        self.reopen(number)

    def reopen(self, number: int) -> None:
        """Let `ask` return an open trial again, as its next attempt."""
        self._open.remove(number)

    def _close(self, number: int, state: TrialState, value: float | None) -> None:
        self._require_open(number)
        self._study.tell(number, value, state)
        self._refresh(number)
        self._open.remove(number)

    def _require_open(self, number: int) -> None:
        if number not in self._open:
            raise KeyError(f"trial {number} of {self.study} is not open in this process")

    def _refresh(self, number: int) -> None:
        """Read a trial again after a write."""
        self._trials[number] = self._storage.get_trial(self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
