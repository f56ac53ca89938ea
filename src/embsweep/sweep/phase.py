"""The two phases in which a sweep runs trials: the search phase and the confirmation phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embsweep.config import Config
from embsweep.search.format import STUDY
from embsweep.search.record import TrialRecord
from embsweep.selection.candidate import RankedTrial, rank_trials
from embsweep.sweep.folder import run_folder
from embsweep.tracking.runs import RunRef


@dataclass(frozen=True)
class Phase:
    """Settings of a phase for its scheduler. `directory` contains one folder per run.

    `study` is the phase's study in the ledger. `checkpoints_to_keep` returns the numbers of the finished runs whose
    weights stay on disk, and `fold` a run's fold of the cross-validation, if any. More than `max_failed` failed
    runs end the phase (None: no limit). A run whose process died is started again, until it
    has died `max_attempts` times; restarts of the driver do not count.
    """

    study: str
    directory: Path
    checkpoints_to_keep: Callable[[Sequence[TrialRecord]], set[int]]
    max_attempts: int
    max_failed: int | None = None
    fold: Callable[[TrialRecord], int | None] = lambda record: None

    def tracking_run(self, record: TrialRecord) -> RunRef:
        """Return the MLflow run of one run."""
        return run_ref(self.study, record)

    def trial_dir(self, number: int) -> Path:
        """Return the folder of one run."""
        return run_folder(self.directory, number)


def rank_finished_trials(records: Iterable[TrialRecord], runs: Path) -> list[RankedTrial]:
    """Return the finished runs that can win, from best to worst: those with a finite objective and weights on disk."""
    return rank_trials(
        RankedTrial(r.number, r.best, (run_folder(runs, r.number) / "best").is_dir())
        for r in records
        if r.state in ("complete", "stopped")
    )


def run_ref(study: str, record: TrialRecord) -> RunRef:
    """Return the MLflow run of a ledger record.

    Args:
        study: Study of the record: of the search, or of a confirmation.
        record: The record.
    """
    if study == STUDY:
        return RunRef(("trial", record.number), f"trial {record.number}")
    fold = f", fold {record.params['fold']}" if "fold" in record.params else ""
    name = f"confirmation of trial {record.params['trial']}, seed {record.params['seed']}{fold}"
    return RunRef((study, record.number), name)


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
        best = {ranked.number for ranked in rank_finished_trials(records, runs)[:keep]}
        return best | ({0} if keep_recipe else set())

    return Phase(STUDY, runs, kept, sweep.max_attempts, sweep.max_failed_trials)
