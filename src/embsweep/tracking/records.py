"""What the sweep tells its tracking: who it is, what it is fed, what won."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embsweep.evaluation.evaluator import Scores
from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class SweepIdentity:
    """One sweep: the same identity finds the same MLflow run again.

    `study_id` tells a fresh start under an old name apart. `base_model` is the model that is really trained;
    in a rehearsal `rehearses` names the one that it stands in for.
    """

    name: str
    study_id: str
    base_model: str
    rehearsal: bool = False
    rehearses: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the sweep's run, of each of its trials and of the version it registers."""
        tags = {
            "embsweep.sweep": self.name,
            "embsweep.study": self.study_id,
            "embsweep.base_model": self.base_model,
            "embsweep.rehearsal": str(self.rehearsal).lower(),
        }
        return tags | ({"embsweep.rehearses": self.rehearses} if self.rehearses else {})


@dataclass(frozen=True)
class DatasetRecord:
    """The data by name, fingerprint and sizes; never its texts. `source` says where it came from."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class WinnerRecord:
    """The winner of a sweep as proven: `scores` were measured on `split` with weights reloaded from disk.

    `run_id` is the MLflow run of its trial, `metric` the one that counts (`map@100`), `card` the model card.
    `evidence` is what the gate will judge; a version without it can never become champion.
    """

    run_id: str
    trial: int
    objective: float
    metric: str
    scores: Scores
    split: str = "test"
    card: str | None = None
    evidence: Evidence | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
