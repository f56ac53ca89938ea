"""Evaluate registered models on a test set in a new process, so that only their stored files affect the scores."""

from __future__ import annotations

from collections.abc import Mapping

from embsweep.config.model import ModelConfig
from embsweep.core.errors import EmbsweepError
from embsweep.core.gpu_errors import explain_gpu_errors
from embsweep.data.collection import RetrievalSet
from embsweep.selection.gate_input import ModelEvaluation
from embsweep.tracking.registry.load import FetchedVersion, load_fetched
from embsweep.training.verification import device_tolerance


def evaluate_models(
    models: Mapping[str, FetchedVersion | ModelConfig],
    data: RetrievalSet,
    dims: tuple[int, ...],
    metric: str,
    batch_size: int,
) -> dict[str, ModelEvaluation]:
    """Evaluate the models one after the other. Run it in a new process.

    Args:
        models: Local copies of registered versions, and models of the hub, each under a name.
        data: Queries and passages to evaluate on.
        dims: Dimensions; each model is evaluated at those that it has.
        metric: Metric of which every query's values are returned.
        batch_size: Texts per batch.

    Returns:
        One evaluation per model. If a model cannot be loaded (altered, hub unreachable), its evaluation has a reason
        instead of scores; the others are evaluated nevertheless.
    """
    return {name: _evaluate(model, data, dims, metric, batch_size) for name, model in models.items()}


def _evaluate(
    which: FetchedVersion | ModelConfig, data: RetrievalSet, dims: tuple[int, ...], metric: str, batch_size: int
) -> ModelEvaluation:
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model
    from embsweep.training.memory import release_memory

    if isinstance(which, FetchedVersion) and which.error:
        return ModelEvaluation(reason_missing=str(which.error))
    try:
        with explain_gpu_errors("loading the model"):
            if isinstance(which, ModelConfig):
                model = build_model(which)
            else:
                model = load_fetched(which.folder, which.manifest_sha256)
    except (EmbsweepError, OSError, ValueError) as error:  # raised by hubs and by readers of weights
        return ModelEvaluation(reason_missing=f"cannot be loaded: {error}")
    dim = int(model.get_embedding_dimension() or 0)
    available = [requested for requested in dims if requested <= dim]
    if not available:
        return ModelEvaluation(dim=dim, reason_missing=f"has {dim} dimensions, fewer than any requested")
    try:
        with explain_gpu_errors("the evaluation"):
            found = evaluate_model(model, data, available, batch_size=batch_size)
    except EmbsweepError as error:
        return ModelEvaluation(dim=dim, reason_missing=f"cannot be evaluated: {error}")
    device = model.device.type
    del model
    release_memory()
    return ModelEvaluation(found.scores, found.of_metric(metric), dim, device, device_tolerance(device))
