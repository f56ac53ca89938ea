"""The base model before any trial: its copy for the machines of a cluster, and its scores, the baseline."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embsweep.config import TrialConfig
from embsweep.config.model import ModelConfig
from embsweep.config.search_space import boundary_values
from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.core.gpu_errors import explain_gpu_errors
from embsweep.core.gpus import has_usable_gpu
from embsweep.data.collection import RetrievalSet
from embsweep.models.copies import ModelCopy, copy_model, find_copy
from embsweep.models.usage import describe_usage
from embsweep.reports.progress import Progress
from embsweep.search.ledger import Ledger
from embsweep.selection.objective import compute_objective, resolve_floors
from embsweep.selection.scores import Scores, scores_from_json, scores_to_json
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import open_model_cache
from embsweep.sweep.projection import build_view
from embsweep.sweep.request import SweepRequest

log = logging.getLogger(__name__)


def describe_models(request: SweepRequest, prepared: PreflightResult) -> tuple[str, ...]:
    """Describe how each model of the space is used: prompts, pooling and length; several lines for each."""
    lines = (line for model in _find_models(request, prepared) for line in describe_usage(model))
    return tuple(dict.fromkeys(lines))


def copy_models(request: SweepRequest, prepared: PreflightResult) -> tuple[ModelCopy, ...]:
    """Copy every model of the space to the storage folder; return the copies, none unless the sweep runs on a cluster.

    A model that cannot be copied is left out: only the trials that use it fail, with the reason.

    Raises:
        InputError: If the folder of the copies is unsafe (see `check_folder`).
        OSError: If the disk is full.
    """
    if not prepared.runner.is_remote:
        return ()
    root = open_model_cache(prepared.storage, is_shared=prepared.recipe.storage.shared)
    distinct = {(model.kind, model.source, model.revision): model for model in _find_models(request, prepared)}
    return tuple(copy for model in distinct.values() if (copy := _copy(model, root)))


def _copy(model: ModelConfig, root: Path) -> ModelCopy | None:
    try:
        return copy_model(model, root)
    except EmbsweepError as error:
        log.warning("model %s is not copied to the storage folder: %s", model.name, error)
        return None


def _find_models(request: SweepRequest, prepared: PreflightResult) -> Iterator[ModelConfig]:
    """Yield the recipe's model, and the models at the ends or options of the dimensions that change it."""
    yield prepared.recipe.model
    changing = [d for d in request.space if d.key.split(".")[0] == "model"]
    axes = [[(d.key, value) for value in boundary_values(d)] for d in changing]
    for point in itertools.product(*axes) if axes else ():
        with suppress(InputError):  # each value is valid, but not their combination
            yield prepared.scale.apply(request.configure(dict(point))).model


@dataclass(frozen=True)
class Baseline:
    """The base model's scores on the validation split, their objective, and every metric of BM25 there.

    `profile` is the sweep's objective, with these scores substituted for floors that refer to the base model. `device`
    is that of the scores.
    """

    scores: Scores
    objective: float
    bm25: Mapping[str, float]
    profile: ObjectiveConfig
    device: str = "cpu"


def load_or_score_baseline(
    prepared: PreflightResult, models: tuple[ModelCopy, ...], ledger: Ledger, progress: Progress
) -> Baseline:
    """Return the baseline in the ledger; measure and record it there first if there is none.

    Args:
        prepared: The checked request.
        models: Copies of base models, see `score_base`.
        ledger: The ledger of the search.
        progress: Shows that the baseline is measured, and its objective.
    """
    from embsweep.evaluation.bm25 import measure_bm25

    config, data = prepared.recipe.objective, prepared.splits.validation
    if "baseline" not in ledger.metadata:
        progress.say("Scoring the untrained base model and BM25 on the validation split.")
        # A CUDA context of this process would outlive the sweep: it takes memory, or all of an exclusive GPU.
        call, trial = partial(prepared.runner.call, in_new_process=has_usable_gpu()), prepared.recipe.trial
        scores, device = call(score_base, trial, data, models=models)
        objective = compute_objective(scores, resolve_floors(config, scores))
        facts = {"scores": scores_to_json(scores), "objective": objective, "bm25": measure_bm25(data)[0]}
        facts["device"] = device
        ledger.set_metadata(baseline=facts)
        progress.update(build_view(dict(ledger.metadata), ledger.trials), f"base model: {objective:.4f}")
    known = ledger.metadata["baseline"]
    scores = scores_from_json(known["scores"])
    profile = resolve_floors(config, scores)
    return Baseline(scores, known["objective"], known["bm25"], profile, known.get("device", "cpu"))


def score_base(config: TrialConfig, data: RetrievalSet, *, models: tuple[ModelCopy, ...] = ()) -> tuple[Scores, str]:
    """Evaluate the untrained model as the trials will be: at the same dimensions, in the same precision.

    Args:
        config: The configuration of a trial, with model, dimensions and evaluation batch size.
        data: The validation split.
        models: Copies of base models; the model is loaded from its copy if there is one.

    Returns:
        Every metric at every dimension, and the type of the device (`cpu`, `cuda`, …).

    Raises:
        CodedError: If memory runs out or the GPU fails.
    """
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model
    from embsweep.training.memory import release_memory

    with explain_gpu_errors("scoring the base model"):
        model = build_model(config.model, folder=find_copy(config.model, models))
        scores = evaluate_model(model, data, config.eval_dims, batch_size=config.eval.batch_size).scores
    device = model.device.type
    del model
    release_memory()  # this process may run as long as the sweep
    return scores, device
