"""The second use case: measure a model as a sweep would, without a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config import Config
from embsweep.config.root import check_measurable
from embsweep.data.collection import Collection, RetrievalSet
from embsweep.data.split import read_whole, split_collection
from embsweep.decide.scores import Scores
from embsweep.errors import Fault, InputError
from embsweep.sweep.preflight import check_chosen_model, checked_config, checked_data, distinct, find_storage

SPLITS = ("all", "validation", "test")


@dataclass(frozen=True)
class EvaluationRequest:
    """What is measured on what, and what of the source is not; everything in it was checked."""

    config: Config
    split: str
    data: RetrievalSet
    notes: tuple[str, ...]


def check_evaluation(
    values: Mapping[str, Any], split: str, default_storage: Path, earlier: Iterable[Fault] = ()
) -> EvaluationRequest:
    """Check configuration, model and data. InputError with every fault, `earlier` ones among them."""
    faults = list(earlier)
    config = checked_config(values, faults, check_measurable)
    if config is not None:
        faults.extend(check_chosen_model(config.model, faults))
    collection = checked_data(values, find_storage(values, default_storage), faults)
    if config is None or collection is None or faults:
        raise InputError(distinct(faults))
    return EvaluationRequest(config, split, *_choose_side(collection, config, split))


def _choose_side(collection: Collection, config: Config, split: str) -> tuple[RetrievalSet, tuple[str, ...]]:
    how, max_pairs = config.data.split, config.data.max_pairs
    if split == "all":
        return read_whole(collection, how.seed, max_pairs)
    splits = split_collection(collection, how, max_pairs)
    return (splits.validation if split == "validation" else splits.test), splits.notes


def measure(request: EvaluationRequest) -> tuple[Scores, dict[str, float]]:
    """The model's scores at every dimension, and BM25's."""
    from embsweep.model.base import build_model
    from embsweep.trial.evaluator import evaluate_model
    from embsweep.trial.lexical import evaluate_bm25

    trial = request.config.trial
    model = build_model(trial.model)
    scores = evaluate_model(model, request.data, trial.eval_dims, batch_size=trial.eval.batch_size).scores
    return scores, evaluate_bm25(request.data)
