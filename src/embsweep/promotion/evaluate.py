"""Evaluate registered models on a test set in a new process, so that only their stored files affect the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.training import ModelConfig
from embsweep.core.errors import EmbsweepError
from embsweep.core.subprocess import run_in_subprocess
from embsweep.data.collection import RetrievalSet
from embsweep.selection.gate_input import ModelEvaluation
from embsweep.training.verification import device_tolerance

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class RegisteredModel:
    """Local copy of a registered version's files, with the hash that they must have when they are loaded."""

    folder: Path
    manifest_sha256: str


@dataclass(frozen=True)
class EvaluationSpec:
    """Settings of an evaluation: every model is evaluated on the same set, at those of `dims` that it has."""

    data: RetrievalSet
    dims: tuple[int, ...]
    metric: str
    batch_size: int


def evaluate_models(models: Sequence[RegisteredModel | ModelConfig], how: EvaluationSpec) -> list[ModelEvaluation]:
    """Evaluate the models one after the other in one newly started process.

    Returns:
        One evaluation per model, in order. If a model cannot be loaded (altered, hub unreachable), its evaluation has
        a reason instead of scores; the others are evaluated nevertheless.
    """
    return run_in_subprocess(evaluate_all, list(models), how)


def evaluate_all(models: Sequence[RegisteredModel | ModelConfig], how: EvaluationSpec) -> list[ModelEvaluation]:
    """Evaluate the models in this process; `evaluate_models` calls this in its new process."""
    return [_evaluate(model, how) for model in models]


def _evaluate(which: RegisteredModel | ModelConfig, how: EvaluationSpec) -> ModelEvaluation:
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.training.memory import release_memory

    try:
        model = _load(which)
    except (EmbsweepError, OSError, ValueError) as error:  # raised by hubs and by readers of weights
        return ModelEvaluation(reason_missing=f"cannot be loaded: {error}")
    dim = int(model.get_embedding_dimension() or 0)
    dims = [requested for requested in how.dims if requested <= dim]
    if not dims:
        return ModelEvaluation(dim=dim, reason_missing=f"has {dim} dimensions, fewer than any requested")
    try:
        found = evaluate_model(model, how.data, dims, batch_size=how.batch_size)
    except EmbsweepError as error:
        return ModelEvaluation(dim=dim, reason_missing=f"cannot be evaluated: {error}")
    device = model.device.type
    del model
    release_memory()
    return ModelEvaluation(found.scores, found.of_metric(how.metric), dim, device, device_tolerance(device))


def _load(which: RegisteredModel | ModelConfig) -> SentenceTransformer:
    from embsweep.models.builders import build_model
    from embsweep.tracking.registry.load import load_fetched

    if isinstance(which, ModelConfig):
        return build_model(which)
    return load_fetched(which.folder, which.manifest_sha256)
