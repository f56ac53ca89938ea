"""The second use case: measure a model as a sweep would, without a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config import Config, build_config
from embsweep.config.root import check_measurable
from embsweep.data.collection import RetrievalSet
from embsweep.data.load import load_collection
from embsweep.data.split import split_collection, whole_set
from embsweep.decide.scores import Scores
from embsweep.errors import InputError
from embsweep.model.base import check_model
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.preflight import find_missing

SPLITS = ("all", "validation", "test")


@dataclass(frozen=True)
class EvaluationRequest:
    """What is measured on what; everything in it was checked."""

    config: Config
    split: str
    data: RetrievalSet


def check_evaluation(values: Mapping[str, Any], split: str, storage: Path) -> EvaluationRequest:
    """Check configuration, model and data. InputError with every fault."""
    missing = find_missing(values)
    if missing:
        raise InputError(missing)
    config = build_config(values)
    faults = [*check_measurable(config), *check_model(config.model)]
    try:
        collection = load_collection(config.data, SweepFolder.cache(storage))
        if split == "all":
            data = whole_set(collection)
        else:
            splits = split_collection(collection, config.data.split, config.data.max_pairs)
            data = splits.validation if split == "validation" else splits.test
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return EvaluationRequest(config, split, data)


def measure(request: EvaluationRequest) -> tuple[Scores, dict[str, float]]:
    """The model's scores at every dimension, and BM25's."""
    from embsweep.model.base import build_model
    from embsweep.trial.evaluator import evaluate_model
    from embsweep.trial.lexical import evaluate_bm25

    trial = request.config.trial
    model = build_model(trial.model)
    scores = evaluate_model(model, request.data, trial.eval_dims, batch_size=trial.eval.batch_size).scores
    return scores, evaluate_bm25(request.data)
