"""A registry with hand-made winners: static models, sixty pairs, and evidence as a sweep would write it."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from embsweep.config.data import FilesConfig, SplitConfig
from embsweep.config.sweep import GateConfig
from embsweep.config.training import ModelConfig, ObjectiveConfig
from embsweep.data.groups import label_groups
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection
from embsweep.evaluation.evaluator import evaluate_model
from embsweep.selection.evidence import BASE, WINNER, DataRecord, EvaluationRecord, Evidence
from embsweep.selection.objective import compute_objective
from embsweep.selection.statistics.significance import compare_models, compute_intervals
from embsweep.tracking.records import SweepIdentity, WinnerRecord
from embsweep.tracking.registry.register import register_winner
from embsweep.tracking.store import Store
from embsweep.training.checkpoint import save_checkpoint
from tests.mlflow_runs import SampleSweep
from tests.reports.evidence_samples import make_evidence, make_training
from tests.toy_models import make_noisy

PAIRS, DIM, DIMS = 60, 16, (16, 8)
GATE = GateConfig(against_base="significant", against_champion="significant", margin=0.0, alpha=0.05)
_numbers = itertools.count()


def make_table(noise, dim=DIM):
    """Return a static model; see `make_noisy`."""
    return make_noisy(PAIRS, dim, noise)


def write_pairs(path, order=None, last="p59"):
    """Write sixty pairs `qI` → `pI`; `last` is the passage of the last one."""
    passages = [*(f"p{i}" for i in range(PAIRS - 1)), last]
    rows = [json.dumps({"anchor": f"q{i}", "positive": passages[i]}) + "\n" for i in order or range(PAIRS)]
    path.write_text("".join(rows))


@dataclass
class Sandbox:
    """One registered model with its data; the higher `base_noise`, the worse its base model retrieves."""

    store: Store
    folder: Path
    storage: Path
    base_noise: float = 2.0
    name: str = field(default_factory=lambda: f"legal{next(_numbers)}")

    def __post_init__(self):
        self.pairs = self.folder / "pairs.jsonl"
        write_pairs(self.pairs)
        self.base = ModelConfig(name="table", kind="hub", source=str(self.folder / "base"), dim=DIM, max_seq_length=16)
        make_table(self.base_noise).save(self.base.source, create_model_card=False)

    @property
    def data(self):
        split = SplitConfig(seed=1, validation=0.2, test=0.5)
        return FilesConfig(kind="files", pairs=str(self.pairs), anchor="anchor", positive="positive", split=split)

    @property
    def splits(self):
        return split_collection(load_collection(self.data, self.folder), self.data.split, None)

    @property
    def client(self):
        return self.store.client

    @property
    def aliases(self):
        return {alias: int(v) for alias, v in self.client.get_registered_model(self.name).aliases.items()}

    def tags(self, version):
        return self.client.get_model_version(self.name, str(version)).tags

    def decisions(self, version):
        """Return the content of every decision file, oldest first."""
        run_id = self.client.get_model_version(self.name, str(version)).run_id
        files = [file.path for file in self.client.list_artifacts(run_id, "promotion")]
        found = [json.loads(Path(self.client.download_artifacts(run_id, file)).read_text()) for file in files]
        return sorted(found, key=lambda decision: decision["at"])

    def files(self, version):
        from mlflow.utils.file_utils import local_file_uri_to_path

        return Path(local_file_uri_to_path(self.client.get_model_version_download_uri(self.name, str(version))))

    def register(self, noise=0.3, *, dim=DIM, rehearsal=False, **changes):
        """Register a winner like a sweep, with `changes` of its evidence, and return its version."""
        model = make_table(noise, dim)
        dims = tuple(d for d in DIMS if d <= dim)
        evidence = self.make_evidence(model, dims, **{"rehearsal": rehearsal, **changes})
        identity = SweepIdentity(self.name, f"{self.name}-{next(_numbers)}", "table", rehearsal=rehearsal)
        folder = save_checkpoint(model, self.folder / identity.study_id / "best")
        run_id = SampleSweep(self.store, identity).start_trial(3)
        facts = WinnerRecord(run_id, "# the card\n", evidence)
        return register_winner(
            self.store, identity, folder, registered_name=self.name, facts=facts, model=model
        ).version

    def make_evidence(self, model, dims, **changes) -> Evidence:
        """Return evidence with measured scores of `model` and the base."""
        splits, objective = self.splits, ObjectiveConfig(metric="map@100", aggregate="mean")
        groups = label_groups(splits.test.relevant)
        base = make_table(self.base_noise)
        test = {WINNER: evaluate(model, splits.test, dims, groups), BASE: evaluate(base, splits.test, dims, groups)}
        training = make_training()
        config = training.config.model_copy(update={"model": self.base, "objective": objective})
        values = {
            "base_model": "table",
            "dims": dims,
            "objective": objective,
            "gate": GATE,
            "data": DataRecord(
                name=splits.name,
                fingerprint=splits.fingerprint,
                sizes={},
                config=self.data.model_dump(mode="json"),
                merged=(),
            ),
            "training": training.model_copy(update={"config": config}),
            "groups": groups,
            "validation": {name: record.scores for name, record in test.items()},
            "test": test,
            "objectives": {name: compute_objective(record.scores, objective) for name, record in test.items()},
            "comparisons": compare_models(
                test[WINNER].per_query, {BASE: test[BASE].per_query}, groups, config=objective, seed=0
            ),
        }
        return make_evidence(**{**values, **changes})


def evaluate(model, data, dims, groups) -> EvaluationRecord:
    found = evaluate_model(model, data, dims, batch_size=64)
    values = found.of_metric("map@100")
    return EvaluationRecord(
        scores={dim: dict(by_metric) for dim, by_metric in found.scores.items()},
        values={dim: tuple(array.tolist()) for dim, array in values.items()},
        intervals=compute_intervals(values, groups, seed=0),
    )
