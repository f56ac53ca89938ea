"""Models read on a test set in a process of their own, so that nothing but what is stored can speak for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.training import ModelConfig
from embsweep.core.errors import EmbsweepError
from embsweep.core.subprocess import run_fresh
from embsweep.data.collection import RetrievalSet
from embsweep.selection.gate import Reading
from embsweep.training.verification import tolerance_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Stored:
    """A registered version's files, copied here, with the hash that they must have when they are loaded."""

    folder: Path
    manifest_sha256: str


@dataclass(frozen=True)
class Measure:
    """How to read: every model on the same set, at those of `dims` that it has."""

    data: RetrievalSet
    dims: tuple[int, ...]
    metric: str
    batch_size: int


def reread_models(models: Sequence[Stored | ModelConfig], how: Measure) -> list[Reading]:
    """A reading of each, in order, all in one newly started process.

    One that cannot be had (altered, no hub) has a reading with its fault, and the others are read all the same.
    """
    return run_fresh(read_all, list(models), how)


def read_all(models: Sequence[Stored | ModelConfig], how: Measure) -> list[Reading]:
    """What `reread_models` runs there."""
    return [_read(model, how) for model in models]


def _read(which: Stored | ModelConfig, how: Measure) -> Reading:
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.training.memory import release_memory

    try:
        model = _load(which)
    except (EmbsweepError, OSError, ValueError) as error:  # what hubs and readers of weights raise
        return Reading(fault=f"cannot be loaded: {error}")
    dim = int(model.get_embedding_dimension() or 0)
    dims = [asked for asked in how.dims if asked <= dim]
    if not dims:
        return Reading(dim=dim, fault=f"has {dim} dimensions, fewer than any that is asked for")
    try:
        found = evaluate_model(model, how.data, dims, batch_size=how.batch_size)
    except EmbsweepError as error:
        return Reading(dim=dim, fault=f"cannot be measured: {error}")
    device = model.device.type
    del model
    release_memory()
    return Reading(found.scores, found.of_metric(how.metric), dim, device, tolerance_of(device))


def _load(which: Stored | ModelConfig) -> SentenceTransformer:
    from embsweep.models.registry import build_model
    from embsweep.tracking.registry.load import load_fetched

    if isinstance(which, ModelConfig):
        return build_model(which)
    return load_fetched(which.folder, which.manifest_sha256)
