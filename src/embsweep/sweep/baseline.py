"""What must be beaten: the untrained base model at every dimension, and BM25."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embsweep.config import TrialConfig
from embsweep.data.collection import RetrievalSet
from embsweep.decide.objective import compute_objective
from embsweep.decide.scores import Scores, scores_from_json, scores_to_json


@dataclass(frozen=True)
class Baseline:
    """The base model's scores on one set, their objective, and BM25's MAP@100 on the same set."""

    scores: Scores
    objective: float
    bm25: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for the ledger."""
        return {"scores": scores_to_json(self.scores), "objective": self.objective, "bm25": self.bm25}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Baseline:
        """What `to_json` gave."""
        return Baseline(scores_from_json(values["scores"]), values["objective"], values["bm25"])


def measure_baseline(config: TrialConfig, data: RetrievalSet) -> Baseline:
    """Score the untrained model as the trials will be scored: same dimensions, same precision."""
    from embsweep.model.base import build_model
    from embsweep.trial.evaluator import evaluate_model
    from embsweep.trial.lexical import evaluate_bm25
    from embsweep.trial.train import release_memory

    model = build_model(config.model)
    scores = evaluate_model(model, data, config.eval_dims, batch_size=config.eval.batch_size).scores
    del model
    release_memory()  # this process lives as long as the sweep: the card is for the trials
    return Baseline(scores, compute_objective(scores, config.objective), evaluate_bm25(data)["map@100"])
