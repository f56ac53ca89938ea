"""The baseline: scores of the untrained base model at every dimension, and of BM25, which the trials should exceed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embsweep.config import TrialConfig
from embsweep.config.training import ObjectiveConfig
from embsweep.data.collection import RetrievalSet
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.selection.objective import compute_objective, resolve_floors
from embsweep.selection.scores import Scores, scores_from_json, scores_to_json


@dataclass(frozen=True)
class Baseline:
    """The base model's scores on the validation split, their objective, and every metric of BM25 there.

    `profile` is the sweep's objective, with these scores substituted for floors that refer to the base model.
    """

    scores: Scores
    objective: float
    bm25: Mapping[str, float]
    profile: ObjectiveConfig

    def to_json(self) -> dict[str, Any]:
        """Convert the baseline to plain JSON for the ledger; `profile` is not included."""
        scores = scores_to_json(self.scores)
        return {"scores": scores, "objective": self.objective, "bm25": dict(self.bm25)}


def baseline_from_json(values: dict[str, Any], config: ObjectiveConfig) -> Baseline:
    """Restore a baseline from the output of `Baseline.to_json`, with its profile from the sweep's objective."""
    scores = scores_from_json(values["scores"])
    return Baseline(scores, values["objective"], values["bm25"], resolve_floors(config, scores))


def measure_baseline(scores: Scores, config: ObjectiveConfig, data: RetrievalSet) -> Baseline:
    """Build the baseline from the base model's scores, and evaluate BM25.

    Args:
        scores: The base model's scores on the validation split.
        config: The sweep's objective.
        data: The validation split.
    """
    from embsweep.evaluation.bm25 import measure_bm25

    profile = resolve_floors(config, scores)
    return Baseline(scores, compute_objective(scores, profile), measure_bm25(data)[0], profile)


def score_base(config: TrialConfig, data: RetrievalSet, *, models: tuple[ModelCopy, ...] = ()) -> Scores:
    """Evaluate the untrained model as the trials will be: at the same dimensions, in the same precision.

    Args:
        config: The configuration of a trial, with model, dimensions and evaluation batch size.
        data: The validation split.
        models: Copies of base models; the model is loaded from its copy if there is one.

    Returns:
        Every metric at every dimension.
    """
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model
    from embsweep.training.memory import release_memory

    model = build_model(config.model, folder=find_copy(config.model, models))
    scores = evaluate_model(model, data, config.eval_dims, batch_size=config.eval.batch_size).scores
    del model
    release_memory()  # this process may run as long as the sweep, and the trials need the GPU
    return scores
