"""Scheduler of a sweep: suggests trials to the runner and writes their reports to ledger, MLflow outbox and screen."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embsweep.config import Config, TrialConfig
from embsweep.core.errors import DiskFull, InputError
from embsweep.core.files import MANIFEST, is_disk_full_error, remove_leftovers
from embsweep.core.redaction import redact
from embsweep.reports.progress import Progress
from embsweep.reports.text import score
from embsweep.search.ledger import Ledger
from embsweep.search.record import FACT_NAMES, MINI_BATCH_SIZE, OOM_RETRY, PREVIOUS_REPORTS, REPORTS, TrialRecord
from embsweep.selection.scores import Scores, scores_to_json
from embsweep.sweep.identity import flatten
from embsweep.sweep.phase import Phase
from embsweep.sweep.presentation import build_view, describe_params
from embsweep.tracking.runs import RunRef
from embsweep.tracking.tracker import Tracker
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted, to_rows
from embsweep.training.verification import hash_of_manifest

LOGGED_TRIALS = "logged_trials"
"""Key of the ledger's metadata: numbers of the runs whose end was written to MLflow's outbox."""

OUTBOX_RECORDS = "outbox_records"
"""Key of the ledger's metadata: how many records had been written to MLflow's outbox at that time."""

TRACKING_STARTED = "tracking_started"
"""Attribute of a run in the ledger: its start was written to MLflow's outbox."""

MANIFEST_SHA256 = "manifest_sha256"
"""Attribute of a run in the ledger: sha256 of its weights' manifest when it ended."""

_FACT_MESSAGES = {
    "restarted": "starts over:",
}
"""Facts of a trial that are shown to the user at once, with the text that precedes the value."""


@dataclass
class SweepScheduler:
    """Implementation of `runners.base.TrialScheduler` for both phases of a sweep.

    Everything is written to the ledger first, so that a crash loses at most a metric. `configure` returns the
    configuration of a ledger record, or raises InputError if its parameters are invalid.
    """

    ledger: Ledger
    tracking: Tracker
    progress: Progress
    configure: Callable[[TrialRecord], Config]
    phase: Phase
    _best_scores: dict[int, Scores] = field(default_factory=dict)
    _reports: dict[int, list[TrialReport]] = field(default_factory=dict)
    _previous_reports: dict[int, dict[int, TrialReport]] = field(default_factory=dict)

    def resume(self) -> None:
        """Finish what an earlier process left undone because it died after closing a run in the ledger.

        Log the runs whose end was not logged (all finished runs, if records of the outbox were lost), and delete
        checkpoints that are no longer needed.
        """
        if self.tracking.has_lost_records(self.ledger.metadata.get(OUTBOX_RECORDS, 0)):
            self.progress.say("Some MLflow records were lost; logging all finished trials again.")
            self.ledger.set_metadata(**{LOGGED_TRIALS: []})
        logged = set(self.ledger.metadata.get(LOGGED_TRIALS, ()))
        for record in self.ledger.trials:
            if record.is_finished and record.number not in logged and TRACKING_STARTED in record.attributes:
                relog_trial(record, self.tracking, self.phase.tracking_run(record), self._trial_params(record))
                self._log_trial_end(record, record.result, None)
        self._delete_checkpoints()

    def suggest(self) -> TrialSpec | None:
        """See `TrialScheduler.suggest`. Returns None if the budget is used up or too many runs have failed."""
        while not self.has_too_many_failures and (record := self.ledger.ask()) is not None:
            try:
                config = self.configure(record)
            except InputError as error:  # each value is valid, but not their combination
                self._log_trial_start(record, record.params)
                self._close(record.number, TrialResult.failed(f"invalid configuration: {error}"), None)
                continue
            self._log_trial_start(record, _params(config, record))
            self._load_previous_reports(record)
            self._reports[record.number] = []
            self._update_progress(record, f"starts: {describe_params(record) or 'the configuration'}")
            return TrialSpec(
                number=record.number,
                attempt=record.attempt,
                config=_with_mini_batch_of(record, config.trial),
                folder=str(self.phase.trial_dir(record.number)),
                fold=self.phase.fold(record),
            )
        return None

    @property
    def has_too_many_failures(self) -> bool:
        """True if more runs have failed than the phase allows."""
        failed = sum(record.state == "failed" for record in self.ledger.trials)
        return self.phase.max_failed is not None and failed > self.phase.max_failed

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """See `TrialScheduler.on_trial_start`. Records earlier attempts' reports again; a crash may have lost them."""
        process = {"pid": started.pid, "host": started.host, "started_at": started.started_at}
        facts = {"setup_s": started.setup_s, "import_s": started.import_s, **_without_secrets(started.facts)}
        facts |= _facts_of_retries(self.ledger.record(number))
        self.ledger.set_attributes(number, **process, **facts, **{FACT_NAMES: sorted(facts)})
        self.tracking.log_facts(self._child(number), facts)
        for report in (self._deduplicate(number, report) for report in started.earlier):
            self._record_report(number, report)
            self.ledger.record_replayed(number, report.fraction, report.best_objective)
            self.tracking.log_report(self._child(number), report)
        if started.earlier:
            self._update_progress(self.ledger.record(number), f"resumes from {started.earlier[-1].fraction:.0%}")
        for name, text in _FACT_MESSAGES.items():
            if name in facts:
                self._update_progress(self.ledger.record(number), f"{text} {facts[name]}")

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """See `TrialScheduler.on_trial_result`."""
        report = self._deduplicate(number, report)
        self._record_report(number, report)
        should_stop = self.ledger.report(number, report.fraction, report.best_objective) and report.fraction < 1.0
        self.tracking.log_report(self._child(number), report)
        what = f"at {report.fraction:.0%}: {score(report.objective)} (best {score(report.best_objective)})"
        self._update_progress(self.ledger.record(number), f"{what}, stopped" if should_stop else what)
        return should_stop

    def on_trial_error(self, number: int, reason: str) -> None:
        """See `TrialScheduler.on_trial_error`. The trial is started again, or fails if `max_attempts` is reached."""
        reason = redact(reason)
        losses = self.ledger.record(number).losses + 1
        if losses >= self.phase.max_attempts:
            why = f"{reason}; {losses} times, the limit of sweep.max_attempts"
            self.on_trial_complete(number, TrialResult.failed(why))
            return
        self.ledger.mark_lost(number, reason)
        self._update_progress(self.ledger.record(number), f"was lost: {reason}; it resumes from its last evaluation")

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """See `TrialScheduler.on_trial_complete`. A trial that ran out of memory may be started again instead.

        Raises:
            DiskFull: If a full disk ended the trial. The trial stays open, so that it can be resumed.
        """
        if result.outcome is Outcome.FAILED and is_disk_full_error(result.reason or ""):
            raise DiskFull(
                f"{self.phase.trial_dir(number)}: the disk is full ({result.reason}). Finished trials are kept; free "
                "some space, then run the same command to resume the sweep."
            )
        if not self._retry_with_half_the_mini_batch(number, result):
            self._close(number, result, result.best_scores or self._best_scores.pop(number, None))

    def _retry_with_half_the_mini_batch(self, number: int, result: TrialResult) -> bool:
        """Leave a trial open whose training ran out of memory, if its loss has mini-batches that can be smaller.

        A cached loss accumulates its gradient over mini-batches: with half the size there are twice as many, and the
        step is the same. Half a batch of the plain loss has half the negatives, which would be another trial.
        """
        record = self.ledger.record(number)
        size = record.attributes.get(MINI_BATCH_SIZE, 1)
        if not result.out_of_memory or size < 2:
            return False
        sizes = f"{record.attributes.get(OOM_RETRY) or f'loss.mini_batch_size {size}'} → {size // 2}"
        self.ledger.set_attributes(number, **{MINI_BATCH_SIZE: size // 2, OOM_RETRY: sizes})
        self.tracking.log_facts(self._child(number), {OOM_RETRY: sizes})
        self.ledger.reopen(number)
        self._update_progress(self.ledger.record(number), f"ran out of memory, and is retried with {sizes}")
        return True

    def _close(self, number: int, result: TrialResult, scores: Scores | None) -> None:
        """Record the end of a run in the ledger, then in MLflow's outbox; then delete checkpoints.

        Secrets in an error's text are redacted first.
        """
        if result.reason:
            result = dataclasses.replace(result, reason=redact(result.reason))
        self.ledger.set_attributes(
            number, ended_at=result.ended_at, checkpoint=result.checkpoint, **_manifest_hash(result)
        )
        if scores is not None:
            self.ledger.set_attributes(number, scores=scores_to_json(scores))
        match result.outcome:
            case Outcome.COMPLETE if result.best_objective is not None:
                self.ledger.complete(number, result.best_objective)
            case Outcome.STOPPED:
                self.ledger.stop(number)
            case _:
                self.ledger.fail(number, result.reason or "no reason given")
        self._log_trial_end(self.ledger.record(number), result, scores)
        self._delete_checkpoints()
        reason = f": {result.reason}" if result.reason else f", best {score(result.best_objective)}"
        self._update_progress(self.ledger.record(number), f"{result.outcome}{reason}")

    def _log_trial_end(self, record: TrialRecord, result: TrialResult, scores: Scores | None) -> None:
        self.tracking.finish_trial(self.phase.tracking_run(record), result, scores)
        logged = sorted({*self.ledger.metadata.get(LOGGED_TRIALS, ()), record.number})
        self.ledger.set_metadata(**{LOGGED_TRIALS: logged, OUTBOX_RECORDS: self.tracking.record_count})

    def _delete_checkpoints(self) -> None:
        """Delete the weights that the phase does not keep, and the resume states of finished runs."""
        records = self.ledger.trials
        kept = self.phase.checkpoints_to_keep(records)
        for record in records:
            if not record.is_finished:
                continue
            folder = self.phase.trial_dir(record.number)
            for part in ("state",) if record.number in kept else ("state", "best"):
                remove_leftovers(folder / part)
                shutil.rmtree(folder / part, ignore_errors=True)

    def _deduplicate(self, number: int, report: TrialReport) -> TrialReport:
        """Return the report; if it repeats an earlier one, with that one's time: MLflow then has one point, not two."""
        first = self._previous_reports[number].get(report.step)
        if first is None or first.objective != report.objective:
            return report
        return dataclasses.replace(report, reported_at=first.reported_at)

    def _load_previous_reports(self, record: TrialRecord) -> None:
        """Keep the reports of earlier attempts, even if this attempt starts over with a new list of reports."""
        previous = {report.step: report for report in (*record.previous_reports, *record.reports)}
        self._previous_reports[record.number] = previous
        if previous:
            self.ledger.set_attributes(record.number, **{PREVIOUS_REPORTS: to_rows(previous.values())})

    def _record_report(self, number: int, report: TrialReport) -> None:
        """Keep the best scores so far, and add the report to the run's list in the ledger."""
        if report.best_fraction == report.fraction:
            self._best_scores[number] = report.scores
        self._reports[number].append(report)
        self.ledger.set_attributes(number, **{REPORTS: to_rows(self._reports[number])})

    def _trial_params(self, record: TrialRecord) -> Mapping[str, Any]:
        try:
            return _params(self.configure(record), record)
        except InputError:
            return record.params

    def _log_trial_start(self, record: TrialRecord, params: Mapping[str, Any]) -> None:
        self.tracking.start_trial(self.phase.tracking_run(record), record.attempt, params)
        self.ledger.set_attributes(record.number, **{TRACKING_STARTED: True})

    def _child(self, number: int) -> RunRef:
        return self.phase.tracking_run(self.ledger.record(number))

    def _update_progress(self, record: TrialRecord, event: str) -> None:
        view = build_view(dict(self.ledger.metadata), self.ledger.trials)
        self.progress.update(view, f"{self.phase.tracking_run(record).name} {event}")


def _without_secrets(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts with secrets redacted: a fact may quote an error's text."""
    return {name: redact(value) if isinstance(value, str) else value for name, value in facts.items()}


def _facts_of_retries(record: TrialRecord) -> dict[str, Any]:
    return {OOM_RETRY: record.attributes[OOM_RETRY]} if OOM_RETRY in record.attributes else {}


def _with_mini_batch_of(record: TrialRecord, config: TrialConfig) -> TrialConfig:
    """Return the configuration of an attempt: later ones keep the size of the first (`auto` is measured once).

    With dropout, another size would draw other masks.
    """
    size = record.attributes.get(MINI_BATCH_SIZE)
    if size is None:
        return config
    return config.model_copy(update={"loss": config.loss.model_copy(update={"mini_batch_size": size})})


def _manifest_hash(result: TrialResult) -> dict[str, str]:
    """Return the hash of the weights' manifest at the end of the run, for the later verification."""
    folder = Path(result.checkpoint) if result.checkpoint else None
    return {MANIFEST_SHA256: hash_of_manifest(folder)} if folder and (folder / MANIFEST).is_file() else {}


def _params(config: Config, record: TrialRecord) -> dict[str, Any]:
    """Return a run's parameters for MLflow; swept groups (`matryoshka=halving`) are not config keys and are added."""
    groups = {key: value for key, value in record.params.items() if "." not in key}
    return dict(flatten(config.trial.model_dump(mode="json"))) | groups


def relog_trial(record: TrialRecord, tracking: Tracker, child: RunRef, params: Mapping[str, Any]) -> None:
    """Log a finished run again, except for its end. What MLflow has received already does not change.

    Args:
        record: The run in the ledger.
        tracking: The sweep's tracker.
        child: The MLflow run.
        params: The run's parameters.
    """
    facts = record.attributes
    tracking.start_trial(child, record.attempt, params, started_at=facts.get("started_at"))
    tracking.log_facts(child, {name: facts[name] for name in facts.get(FACT_NAMES, ())})
    for report in record.reports:
        tracking.log_report(child, report)
