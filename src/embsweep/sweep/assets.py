"""Copies of the base models of a sweep on a cluster, whose machines may lack the originals."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from embsweep.config.search_space import boundary_values
from embsweep.config.training import ModelConfig
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.models.copies import ModelCopy, copy_model
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import open_model_cache
from embsweep.sweep.request import SweepRequest

log = logging.getLogger(__name__)


def copy_models(request: SweepRequest, prepared: PreflightResult) -> tuple[ModelCopy, ...]:
    """Copy every model of the space to the storage folder; return the copies, none unless the sweep runs on a cluster.

    A model that cannot be copied is left out: only the trials that use it fail, with the reason.

    Raises:
        InputError: If the folder of the copies is unsafe (see `check_ownership`).
        OSError: If the disk is full.
    """
    if not prepared.runner.is_remote:
        return ()
    root = open_model_cache(prepared.storage)
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
        try:
            yield prepared.scale.apply(request.configure(dict(point))).model
        except InputError:
            continue  # each value is valid, but not their combination
