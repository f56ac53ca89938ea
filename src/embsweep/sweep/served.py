"""The weights that speak for a configuration: of all its runs, those with the best validation objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embsweep.config import Config
from embsweep.decide.scores import Scores, scores_from_json
from embsweep.errors import EmbsweepError
from embsweep.search.record import TrialRecord
from embsweep.sweep.confirm import Confirmation
from embsweep.sweep.context import SweepContext
from embsweep.sweep.desk import MANIFEST_NOTE
from embsweep.sweep.fresh_runs import configure_again, confirmation_stage
from embsweep.sweep.stage import search_child
from embsweep.tracking.runs import Child


@dataclass(frozen=True)
class ServedRun:
    """One run of a configuration: `trial` is the configuration's number in the search, `record` the run's own."""

    trial: int
    child: Child
    record: TrialRecord
    weights: Path
    config: Config

    @property
    def name(self) -> str:
        """As it is called in MLflow."""
        return self.child.name

    @property
    def objective(self) -> float:
        """The run's best objective on validation."""
        return float(self.record.best or 0.0)

    @property
    def manifest_sha256(self) -> str | None:
        """The hash of its weights' manifest when it ended."""
        found: str | None = self.record.attributes.get(MANIFEST_NOTE)
        return found

    @property
    def scores(self) -> Scores:
        """Every metric at every dimension on validation, of the weights that were kept."""
        return scores_from_json(self.record.attributes["scores"])


def find_served(context: SweepContext, confirmation: Confirmation, trial: int) -> ServedRun:
    """The best run of a configuration whose weights are on disk; of equals, the search's own, then the earlier.

    A recipe that the search stopped early is so represented by a whole schedule, if one was run.
    """
    record = context.ledger.record(trial)
    own = ServedRun(
        trial, search_child(record), record, context.folder.trial(trial) / "best", context.configure(record.params)
    )
    runs = [own, *_fresh_runs(context, confirmation.fresh, trial)]
    able = [run for run in runs if run.weights.is_dir() and run.record.best is not None]
    if not able:
        raise EmbsweepError(f"trial {trial}: its weights are gone ({own.weights})")
    return max(able, key=lambda run: run.objective)


def _fresh_runs(context: SweepContext, fresh: Sequence[TrialRecord], trial: int) -> list[ServedRun]:
    if context.prepared.folds:
        return []  # they have seen other data
    stage = confirmation_stage(context)
    return [
        ServedRun(
            trial,
            stage.child(record),
            record,
            stage.folder(record.number) / "best",
            configure_again(context, record),
        )
        for record in fresh
        if record.params["trial"] == trial and record.state == "complete"
    ]
