"""Records that a sweep passes to its tracking: its identity, its data set and its winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.selection.evidence import WINNER, Evidence


@dataclass(frozen=True)
class SweepIdentity:
    """Identity of a sweep: the same identity always maps to the same MLflow run.

    `study_id` distinguishes a fresh start under an existing name. `base_model` is the model that is actually trained;
    in a rehearsal, `rehearses` is the name of the model that it replaces.
    """

    name: str
    study_id: str
    base_model: str
    rehearsal: bool = False
    rehearses: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the sweep's run, of each trial's run and of the version that the sweep registers."""
        tags = {
            "embsweep.sweep": self.name,
            "embsweep.study": self.study_id,
            "embsweep.base_model": self.base_model,
            "embsweep.rehearsal": str(self.rehearsal).lower(),
        }
        return tags | ({"embsweep.rehearses": self.rehearses} if self.rehearses else {})


@dataclass(frozen=True)
class DatasetRecord:
    """Description of the data: name, fingerprint, source and sizes; never its texts."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class WinnerRecord:
    """Verified winner of a sweep: the scores in its `evidence` were measured with weights reloaded from disk.

    `run_id` is the MLflow run of its trial, `card` the text of the model card. The gate judges the evidence.
    """

    run_id: str
    card: str
    evidence: Evidence

    @property
    def scores(self) -> dict[int, float]:
        """Scores on the test split in the metric of the objective by dimension, the largest dimension first."""
        by_dim = self.evidence.test[WINNER].scores
        return {dim: by_dim[dim][self.evidence.metric] for dim in sorted(by_dim, reverse=True)}
