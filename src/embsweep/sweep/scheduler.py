"""Scheduler of a sweep: suggests trials to the runner, writes their reports to the ledger and tells its listeners.

It serves both phases in which a sweep runs trials: the search and the confirmation.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config import Config, TrialConfig
from embsweep.core.errors import DiskFull, InputError
from embsweep.core.files import MANIFEST, is_disk_full_error, remove_leftovers
from embsweep.core.redaction import redact
from embsweep.reports.text import score
from embsweep.search.ledger import Ledger
from embsweep.search.record import CONFIG, FACTS, MINI_BATCH_SIZE, OOM_RETRY, STUDY, TrialRecord
from embsweep.sweep.folder import run_folder
from embsweep.sweep.projection import describe_params, describe_state
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted
from embsweep.training.verification import hash_of_manifest

log = logging.getLogger(__name__)

MANIFEST_SHA256 = "manifest_sha256"
"""Attribute of a run in the ledger: sha256 of its weights' manifest when it ended."""

Listener = Callable[[TrialRecord, str], None]
"""Function that learns of each event of a run after it is in the ledger: the record, and the event in words, if any."""


@dataclass(frozen=True)
class Phase:
    """Settings of a phase for its scheduler. `directory` contains one folder per run.

    `study` is the phase's study in the ledger. `checkpoints_to_keep` returns the numbers of the finished runs whose
    weights stay on disk. More than `max_failed` failed runs end the phase (None: no limit). A run whose process died is
    started again, until it has died `max_attempts` times; restarts of the driver do not count. The resume states of
    `paused_states` paused runs stay on disk; the others start over if they go on.
    """

    study: str
    directory: Path
    checkpoints_to_keep: Callable[[Sequence[TrialRecord]], set[int]]
    max_attempts: int
    max_failed: int | None = None
    paused_states: int = 0

    def trial_dir(self, number: int) -> Path:
        """Return the folder of one run."""
        return run_folder(self.directory, number)


@dataclass
class SweepScheduler:
    """Implementation of `runners.base.TrialScheduler` for both phases of a sweep.

    Every event is committed to the ledger, then told to the listeners; the ledger alone decides what a resumed sweep
    continues with. `configure` returns the configuration of a ledger record, or raises InputError if its parameters are
    invalid. `warn` prints a line for the user that no event of a run is the cause of.
    """

    ledger: Ledger
    configure: Callable[[TrialRecord], Config]
    phase: Phase
    listeners: Sequence[Listener] = ()
    warn: Callable[[str], None] | None = None

    def suggest(self) -> TrialSpec | None:
        """See `TrialScheduler.suggest`. Returns None if the budget is used up or too many runs have failed."""
        while not self.has_too_many_failures and (record := self.ledger.ask()) is not None:
            try:
                config = self.configure(record)
            except InputError as error:  # each value is valid, but not their combination
                self._close(record.number, TrialResult.failed(f"invalid configuration: {error}"))
                continue
            self.ledger.set_attributes(record.number, **{CONFIG: config.trial.model_dump(mode="json")})
            self._tell(record.number, self._describe_start(self.ledger.record(record.number)))
            return TrialSpec(
                number=record.number,
                attempt=record.attempt,
                config=_with_mini_batch_of(record, config.trial),
                folder=str(self.phase.trial_dir(record.number)),
                fold=int(record.params["fold"]) if "fold" in record.params else None,
            )
        return None

    @property
    def has_too_many_failures(self) -> bool:
        """True if more runs have failed than the phase allows."""
        failed = sum(record.state == "failed" for record in self.ledger.trials)
        return self.phase.max_failed is not None and failed > self.phase.max_failed

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """See `TrialScheduler.on_trial_start`. Records the reports of the attempts that this one resumes."""
        process = {"pid": started.pid, "host": started.host, "started_at": started.started_at}
        facts = {"setup_s": started.setup_s, "import_s": started.import_s, **_without_secrets(started.facts)}
        record = self.ledger.record(number)
        facts |= {OOM_RETRY: record.attributes[OOM_RETRY]} if OOM_RETRY in record.attributes else {}
        size = {MINI_BATCH_SIZE: facts[MINI_BATCH_SIZE]} if MINI_BATCH_SIZE in facts else {}
        start = {f"{FACTS}{max(record.all_facts, default=0) + 1}": {**facts, "started_at": started.started_at}}
        self.ledger.set_attributes(number, **process, **size, **start)
        for report in started.earlier:
            self.ledger.record_report(number, report)
        self._tell(number, f"starts over: {facts['restarted']}" if "restarted" in facts else "")

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """See `TrialScheduler.on_trial_result`."""
        started_at = self.ledger.record(number).attributes.get("started_at", 0.0)
        should_stop = self.ledger.report(number, report) and report.fraction < 1.0
        where = f"at {report.fraction:.0%}"
        if report.reported_at < started_at:  # by an earlier attempt, whose state this one resumes
            self._tell(number, f"resumes {where}")
        else:  # the end of a trial that stops has a line of its own
            self._tell(number, "" if should_stop else f"{where}: {_describe_score(report)}")
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
        self._tell(number, f"was lost: {reason}; it resumes from its last evaluation")

    def on_warning(self, text: str) -> None:
        """See `TrialScheduler.on_warning`. The line goes to the sweep's log and to `warn`."""
        text = redact(text)
        log.warning("%s", text)
        if self.warn is not None:
            self.warn(text)

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
            self._close(number, result)

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
        self.ledger.reopen(number)
        self._tell(number, f"ran out of memory, and is retried with {sizes}")
        return True

    def _describe_start(self, record: TrialRecord) -> str:
        if not record.fraction:  # new, or interrupted: then its reports count again when it repeats them
            return f"starts: {describe_params(record) or 'the configuration'}"
        is_kept = (self.phase.trial_dir(record.number) / "state").is_dir()
        lost = "" if is_kept else ", and starts over: its state was deleted (stopping.paused_states)"
        return f"is promoted to {record.runs_until:.0%}{lost}"

    def close_paused(self) -> None:
        """Stop the paused runs, because the phase has ended without promoting them."""
        for number in self.ledger.close():
            self._tell(number, "")
        self.delete_checkpoints()

    def _close(self, number: int, result: TrialResult) -> None:
        """Record the end of a run in the ledger, without secrets in an error's text; then delete checkpoints."""
        if result.reason:
            result = dataclasses.replace(result, reason=redact(result.reason))
        self.ledger.set_attributes(
            number, ended_at=result.ended_at, checkpoint=result.checkpoint, **_manifest_hash(result)
        )
        match result.outcome:
            case Outcome.COMPLETE if result.best_objective is not None:
                self.ledger.complete(number, result.best_objective)
            case Outcome.STOPPED:
                self.ledger.stop(number)
            case _:
                self.ledger.fail(number, result.reason or "no reason given")
        self.delete_checkpoints()
        record = self.ledger.record(number)
        if record.state in ("paused", "stopped") and record.reports:
            detail = f": {_describe_score(record.reports[-1])}"
        else:
            detail = f": {result.reason}" if result.reason else f", best {score(result.best_objective)}"
        self._tell(number, f"{describe_state(record)}{detail}")

    def delete_checkpoints(self) -> None:
        """Delete the weights that the phase does not keep, and the resume states that no run will need."""
        records = self.ledger.trials
        kept = self.phase.checkpoints_to_keep(records)
        resumable = [n for n in self.ledger.rank_paused() if (self.phase.trial_dir(n) / "state").is_dir()]
        for record in records:
            if record.state == "running" or record.number in resumable[: self.phase.paused_states]:
                continue
            folder = self.phase.trial_dir(record.number)
            for part in ("state",) if record.number in kept else ("state", "best"):
                remove_leftovers(folder / part)
                shutil.rmtree(folder / part, ignore_errors=True)

    def _tell(self, number: int, event: str) -> None:
        record = self.ledger.record(number)
        for listener in self.listeners:
            listener(record, event)


def _describe_score(report: TrialReport) -> str:
    return f"{score(report.objective)} (best {score(report.best_objective)})"


def _without_secrets(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts with secrets redacted: a fact may quote an error's text."""
    return {name: redact(value) if isinstance(value, str) else value for name, value in facts.items()}


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


def search_phase(runs: Path, config: Config, *, keep_recipe: bool) -> Phase:
    """Return the search phase, which keeps the weights of the best trials.

    Args:
        runs: The folder that contains the trials' folders.
        config: The sweep's configuration, with the number of checkpoints to keep and of finalists.
        keep_recipe: Whether trial 0 is the recipe; its weights are then kept too.
    """
    sweep = config.sweep
    keep = max(sweep.keep_checkpoints, config.confirm.finalists)

    def kept(records: Sequence[TrialRecord]) -> set[int]:
        return {*rank_trials(records, runs)[:keep], *([0] if keep_recipe else [])}

    return Phase(STUDY, runs, kept, sweep.max_attempts, sweep.max_failed_trials, config.stopping.paused_states)


def rank_trials(records: Iterable[TrialRecord], runs: Path) -> list[int]:
    """Return the numbers of the runs that can win, from best to worst; of equals, the earlier one first.

    Args:
        records: The runs; failed and running ones, and those without an objective or without weights on disk, cannot
            win; a paused one can, when the search ends.
        runs: The folder that contains the runs' folders.
    """
    scored = [r for r in records if r.state in ("complete", "stopped", "paused") and r.best is not None]
    able = [record for record in scored if (run_folder(runs, record.number) / "best").is_dir()]
    return [record.number for record in sorted(able, key=lambda record: (-(record.best or 0.0), record.number))]
