"""The two stages in which a sweep runs trials: the search, and the confirmation of what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embsweep.config import Config
from embsweep.search.record import TrialRecord
from embsweep.selection.candidate import RankedTrial, rank_trials
from embsweep.sweep.folder import run_folder
from embsweep.tracking.runs import RunRef


@dataclass(frozen=True)
class Phase:
    """What a desk must know of the runs that it hands out. `fold` names a run's fold of the cross-validation, if any.

    `kept` says whose weights stay on disk, of the runs that are finished; more than `max_failed` failed runs end the
    stage, None never does. A run whose process died is started again, `max_attempts` starts in all.
    """

    name: str
    directory: Path
    tracking_run: Callable[[TrialRecord], RunRef]
    checkpoints_to_keep: Callable[[Sequence[TrialRecord]], set[int]]
    max_attempts: int
    max_failed: int | None = None
    fold: Callable[[TrialRecord], int | None] = lambda record: None

    def trial_dir(self, number: int) -> Path:
        """One run's folder."""
        return run_folder(self.directory, number)


def rank_finished_trials(records: Iterable[TrialRecord], runs: Path) -> list[RankedTrial]:
    """Finished runs that can win, from best to worst."""
    return rank_trials(
        RankedTrial(r.number, r.best, (run_folder(runs, r.number) / "best").is_dir())
        for r in records
        if r.state in ("complete", "stopped")
    )


def search_run(record: TrialRecord) -> RunRef:
    """The run of MLflow that stands for a trial of the search."""
    return RunRef(record.number, f"trial {record.number}")


def search_phase(runs: Path, config: Config, *, keep_recipe: bool) -> Phase:
    """The search keeps the weights of the best few and, where trial 0 is the recipe, of that too."""
    sweep = config.sweep
    keep = max(sweep.keep_checkpoints, config.confirm.finalists)

    def kept(records: Sequence[TrialRecord]) -> set[int]:
        best = {contender.number for contender in rank_finished_trials(records, runs)[:keep]}
        return best | ({0} if keep_recipe else set())

    return Phase("search", runs, search_run, kept, sweep.max_attempts, sweep.max_failed_trials)
