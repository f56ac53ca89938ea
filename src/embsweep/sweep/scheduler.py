"""The sweep's desk: hands trials to the runner and writes what comes back to ledger, tracking and screen."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embsweep.config import Config
from embsweep.core.errors import DiskFull, InputError
from embsweep.core.files import MANIFEST, remove_leftovers, says_full
from embsweep.core.redaction import redact
from embsweep.reports.progress import Progress
from embsweep.reports.text import score
from embsweep.search.ledger import Ledger
from embsweep.search.record import FACTS_NOTE, LOG_NOTE, SAID_NOTE, TrialRecord, reports_of, result_of
from embsweep.selection.scores import Scores, scores_to_json
from embsweep.sweep.identity import flatten
from embsweep.sweep.phase import Stage
from embsweep.sweep.presentation import build_view, describe_params
from embsweep.tracking.runs import Child
from embsweep.tracking.tracker import Recorder
from embsweep.training.messages import Outcome, Report, Started, TrialJob, TrialResult, to_rows
from embsweep.training.verification import hash_of_manifest

TOLD_NOTE = "told"
"""Note of the ledger: the runs whose end was told to MLflow's outbox."""

RECORDS_NOTE = "records"
"""Note of the ledger: how many records MLflow's outbox had been given by then."""

TRACKED_NOTE = "tracked"
"""Attribute of a run in the ledger: its start was told to MLflow's outbox."""

MANIFEST_NOTE = "manifest_sha256"
"""Attribute of a run in the ledger: the hash of its weights' manifest when it ended."""

_EVENTS = {
    "started_over": "starts over:",
    "stepped_back": "goes one evaluation back:",
    "memory_retry": "ran out of memory, and is tried again with",
}
"""Facts of a trial that its user is told at once, in these words."""


@dataclass
class SweepDesk:
    """Implements `runner.desk.Desk`. The ledger is written first, so that a crash loses at most a metric.

    `configure` makes a run's configuration out of what the ledger asks for; InputError says that it is none.
    """

    ledger: Ledger
    tracking: Recorder
    progress: Progress
    configure: Callable[[TrialRecord], Config]
    stage: Stage
    _best_scores: dict[int, Scores] = field(default_factory=dict)
    _logs: dict[int, list[Report]] = field(default_factory=dict)
    _said: dict[int, dict[int, Report]] = field(default_factory=dict)

    def catch_up(self) -> None:
        """Do what a crash may have kept an earlier process from doing after it had closed a run in the ledger."""
        if self.tracking.has_lost(self.ledger.notes.get(RECORDS_NOTE, 0)):
            self.progress.say("Records for MLflow are lost: all of the finished trials is told again.")
            self.ledger.note(**{TOLD_NOTE: []})
        told = set(self.ledger.notes.get(TOLD_NOTE, ()))
        for record in self.ledger.trials:
            if record.is_finished and record.number not in told and TRACKED_NOTE in record.attributes:
                tell_again(record, self.tracking, self.stage.child(record), self._params_of(record))
                self._tell_end(record, result_of(record), None)
        self._drop_checkpoints()

    def next_job(self) -> TrialJob | None:
        """The next trial; None when the budget is spent or too many have failed."""
        while not self.is_hopeless and (record := self.ledger.ask()) is not None:
            try:
                config = self.configure(record)
            except InputError as error:  # a combination that only fails together
                self._start_tracking(record, record.params)
                self._close(record.number, _failure(f"is no valid configuration: {error}"), None)
                continue
            self._start_tracking(record, _params(config, record))
            self._keep_said(record)
            self._logs[record.number] = []
            self._show(record, f"starts: {describe_params(record) or 'the configuration'}")
            return TrialJob(
                number=record.number,
                attempt=record.attempt,
                config=config.trial,
                folder=str(self.stage.folder(record.number)),
                fold=self.stage.fold(record),
            )
        return None

    @property
    def is_hopeless(self) -> bool:
        """Whether more runs have failed than the stage allows."""
        failed = sum(record.state == "failed" for record in self.ledger.trials)
        return self.stage.max_failed is not None and failed > self.stage.max_failed

    def started(self, number: int, started: Started) -> None:
        """See `Desk.started`. What earlier attempts have said is written again: a crash may have come before it was."""
        where = {"pid": started.pid, "host": started.host, "started_at": started.started_at}
        facts = {"setup_s": started.setup_s, "import_s": started.import_s, **_without_secrets(started.facts)}
        self.ledger.annotate(number, **where, **facts, **{FACTS_NOTE: sorted(facts)})
        self.tracking.log_facts(self._child(number), facts)
        for report in (self._as_first_said(number, report) for report in started.earlier):
            self._remember(number, report)
            self.ledger.replay(number, report.fraction, report.best_objective)
            self.tracking.log_report(self._child(number), report)
        if started.earlier:
            self._show(self.ledger.record(number), f"goes on behind {started.earlier[-1].fraction:.0%}")
        for name, words in _EVENTS.items():
            if name in facts:
                self._show(self.ledger.record(number), f"{words} {facts[name]}")

    def report(self, number: int, report: Report) -> bool:
        """See `Desk.report`."""
        report = self._as_first_said(number, report)
        self._remember(number, report)
        should_stop = self.ledger.report(number, report.fraction, report.best_objective) and report.fraction < 1.0
        self.tracking.log_report(self._child(number), report)
        what = f"at {report.fraction:.0%}: {score(report.objective)} (best {score(report.best_objective)})"
        self._show(self.ledger.record(number), f"{what}, stopped" if should_stop else what)
        return should_stop

    def lost(self, number: int, reason: str) -> None:
        """See `Desk.lost`: the trial is handed out again, or has failed if that has happened too often."""
        reason = redact(reason)
        losses = self.ledger.record(number).losses + 1
        if losses >= self.stage.max_attempts:
            why = f"{reason}; {losses} times, which is all that sweep.max_attempts allows"
            self.finished(number, _failure(why))
            return
        self.ledger.interrupt(number, reason)
        self._show(self.ledger.record(number), f"was lost: {reason}; it starts again from its last evaluation")

    def finished(self, number: int, result: TrialResult) -> None:
        """See `Desk.finished`. DiskFull where a full disk ended it: not the trial's fault, it stays open to go on."""
        if result.outcome is Outcome.FAILED and says_full(result.reason or ""):
            raise DiskFull(
                f"{self.stage.folder(number)}: the disk is full ({result.reason}). Free some space; what is finished "
                "is kept, and the same command goes on."
            )
        self._close(number, result, result.best_scores or self._best_scores.pop(number, None))

    def _close(self, number: int, result: TrialResult, scores: Scores | None) -> None:
        """The ledger first, then MLflow's outbox, then the disk. No secret of an error's text gets into any of them."""
        if result.reason:
            result = dataclasses.replace(result, reason=redact(result.reason))
        self.ledger.annotate(number, ended_at=result.ended_at, checkpoint=result.checkpoint, **_manifest_of(result))
        if scores is not None:
            self.ledger.annotate(number, scores=scores_to_json(scores))
        match result.outcome:
            case Outcome.COMPLETE if result.best_objective is not None:
                self.ledger.complete(number, result.best_objective)
            case Outcome.STOPPED:
                self.ledger.stop(number)
            case _:
                self.ledger.fail(number, result.reason or "no reason given")
        self._tell_end(self.ledger.record(number), result, scores)
        self._drop_checkpoints()
        reason = f": {result.reason}" if result.reason else f", best {score(result.best_objective)}"
        self._show(self.ledger.record(number), f"{result.outcome}{reason}")

    def _tell_end(self, record: TrialRecord, result: TrialResult, scores: Scores | None) -> None:
        self.tracking.finish_trial(self.stage.child(record), result, scores)
        told = sorted({*self.ledger.notes.get(TOLD_NOTE, ()), record.number})
        self.ledger.note(**{TOLD_NOTE: told, RECORDS_NOTE: self.tracking.told})

    def _drop_checkpoints(self) -> None:
        """Free the disk of the weights that the stage does not keep, and of what finished runs needed to go on."""
        records = self.ledger.trials
        kept = self.stage.kept(records)
        for record in records:
            if not record.is_finished:
                continue
            folder = self.stage.folder(record.number)
            for part in ("state", "before") if record.number in kept else ("state", "before", "best"):
                remove_leftovers(folder / part)
                shutil.rmtree(folder / part, ignore_errors=True)

    def _as_first_said(self, number: int, report: Report) -> Report:
        """What comes out again as it did before has the moment of then: one point in MLflow, not two."""
        first = self._said[number].get(report.step)
        if first is None or first.objective != report.objective:
            return report
        return dataclasses.replace(report, reported_at=first.reported_at)

    def _keep_said(self, record: TrialRecord) -> None:
        """What earlier attempts have said, also where this one starts over and writes another log."""
        said = {report.step: report for report in (*reports_of(record, SAID_NOTE), *reports_of(record))}
        self._said[record.number] = said
        if said:
            self.ledger.annotate(record.number, **{SAID_NOTE: to_rows(said.values())})

    def _remember(self, number: int, report: Report) -> None:
        """For the ledger: the best scores so far, and a line of the trial's log."""
        if report.best_fraction == report.fraction:
            self._best_scores[number] = report.scores
        self._logs[number].append(report)
        self.ledger.annotate(number, **{LOG_NOTE: to_rows(self._logs[number])})

    def _params_of(self, record: TrialRecord) -> Mapping[str, Any]:
        try:
            return _params(self.configure(record), record)
        except InputError:
            return record.params

    def _start_tracking(self, record: TrialRecord, params: Mapping[str, Any]) -> None:
        self.tracking.start_trial(self.stage.child(record), record.attempt, params)
        self.ledger.annotate(record.number, **{TRACKED_NOTE: True})

    def _child(self, number: int) -> Child:
        return self.stage.child(self.ledger.record(number))

    def _show(self, record: TrialRecord, event: str) -> None:
        view = build_view(dict(self.ledger.notes), self.ledger.trials)
        self.progress.update(view, f"{self.stage.child(record).name} {event}")


def _without_secrets(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A fact may quote an error's text."""
    return {name: redact(value) if isinstance(value, str) else value for name, value in facts.items()}


def _failure(reason: str) -> TrialResult:
    return TrialResult(Outcome.FAILED, None, None, None, time.time(), reason)


def _manifest_of(result: TrialResult) -> dict[str, str]:
    """The hash of the weights' manifest now, for the proof later."""
    folder = Path(result.checkpoint) if result.checkpoint else None
    return {MANIFEST_NOTE: hash_of_manifest(folder)} if folder and (folder / MANIFEST).is_file() else {}


def _params(config: Config, record: TrialRecord) -> dict[str, Any]:
    """A run's parameters in MLflow. Swept groups (`matryoshka=halving`) are no keys of it: under their own name."""
    groups = {key: value for key, value in record.params.items() if "." not in key}
    return dict(flatten(config.trial.model_dump(mode="json"))) | groups


def tell_again(record: TrialRecord, tracking: Recorder, child: Child, params: Mapping[str, Any]) -> None:
    """Everything of a finished run but its end: what MLflow knows already stays as it is."""
    facts = record.attributes
    tracking.start_trial(child, record.attempt, params, started_at=facts.get("started_at"))
    tracking.log_facts(child, {name: facts[name] for name in facts.get(FACTS_NOTE, ())})
    for report in reports_of(record):
        tracking.log_report(child, report)
