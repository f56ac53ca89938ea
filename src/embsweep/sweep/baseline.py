"""What must be beaten: the untrained base model at every dimension, and BM25."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embsweep.config import TrialConfig
from embsweep.config.training import ObjectiveConfig
from embsweep.data.collection import RetrievalSet
from embsweep.models.snapshot import Snapshot, localise
from embsweep.selection.objective import compute_objective, resolve_floors
from embsweep.selection.scores import Scores, scores_from_json, scores_to_json


@dataclass(frozen=True)
class Baseline:
    """The base model's scores on the validation split, their objective, and every metric of BM25 there.

    `profile` is the sweep's objective with these scores in place of the floors that name the base model.
    """

    scores: Scores
    objective: float
    bm25: Mapping[str, float]
    profile: ObjectiveConfig

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the ledger."""
        scores = scores_to_json(self.scores)
        return {"scores": scores, "objective": self.objective, "bm25": dict(self.bm25)}


def baseline_from_json(values: dict[str, Any], config: ObjectiveConfig) -> Baseline:
    """What `Baseline.to_json` gave, under the sweep's objective."""
    scores = scores_from_json(values["scores"])
    return Baseline(scores, values["objective"], values["bm25"], resolve_floors(config, scores))


def measure_baseline(scores: Scores, config: ObjectiveConfig, data: RetrievalSet) -> Baseline:
    """The base model's `scores` as a baseline, with BM25 beside them."""
    from embsweep.evaluation.bm25 import evaluate_bm25

    profile = resolve_floors(config, scores)
    return Baseline(scores, compute_objective(scores, profile), evaluate_bm25(data), profile)


def score_base(config: TrialConfig, data: RetrievalSet, *, models: tuple[Snapshot, ...] = ()) -> Scores:
    """Score the untrained model as the trials will be scored: same dimensions, same precision.

    `models` holds base models that may not lie where this is called.
    """
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.registry import build_model
    from embsweep.training.memory import release_memory

    model = build_model(localise(config.model, models))
    scores = evaluate_model(model, data, config.eval_dims, batch_size=config.eval.batch_size).scores
    del model
    release_memory()  # this process may live as long as the sweep: the card is for the trials
    return scores
