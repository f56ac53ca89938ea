"""Verify in a new process that the weights on disk reproduce their recorded scores."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embsweep.config.training import ModelConfig
from embsweep.core.errors import CodedError
from embsweep.core.files import MANIFEST, read_manifest
from embsweep.core.subprocess import run_in_subprocess
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import Evaluation
from embsweep.models.snapshot import Snapshot, localise
from embsweep.selection.scores import Scores
from embsweep.training.checkpoint import load_checkpoint

CPU_TOLERANCE = 1e-6
GPU_TOLERANCE = 1e-3
"""Largest accepted difference of any metric between two evaluations of the same weights, by device."""


class VerificationFailed(CodedError):
    """Raised if the weights on disk are not those that were evaluated. Nothing is registered."""


@dataclass(frozen=True)
class RecordedScores:
    """The weights in `folder` (None: the untrained base model) and their `recorded` validation scores.

    `manifest_sha256` is that of the checkpoint's manifest when its run ended, None if it was not recorded.
    """

    name: str
    folder: Path | None
    recorded: Scores
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class VerifiedEvaluation:
    """The test evaluation of a model whose recorded scores were reproduced in the same process.

    `difference` is the largest of any recorded metric, `manifest_sha256` is empty for a base model.
    """

    test: Evaluation
    difference: float
    tolerance: float
    manifest_sha256: str
    device: str
    pid: int


@dataclass(frozen=True)
class VerificationSpec:
    """Settings of the evaluations: the base model, both held-out splits, the dimensions, texts per batch."""

    model: ModelConfig
    validation: RetrievalSet
    test: RetrievalSet
    dims: tuple[int, ...]
    batch_size: int


def verify_and_evaluate(
    recorded_scores: Sequence[RecordedScores],
    how: VerificationSpec,
    *,
    call: Callable[..., list[VerifiedEvaluation]] = run_in_subprocess,
    models: tuple[Snapshot, ...] = (),
) -> list[VerifiedEvaluation]:
    """Evaluate each model in one new process; return its test scores if its recorded scores are reproduced.

    Each model is evaluated on validation data first; it is evaluated on test data only if that reproduces its scores.

    Args:
        recorded_scores: The models with their recorded scores.
        how: Settings of the evaluations.
        call: Runs a function in a new process, as `run_in_subprocess` does.
        models: Snapshots of base models that may be missing where that process runs.

    Raises:
        VerificationFailed: If a recorded metric is not reproduced. No test score is computed then.
        EmbsweepError: If a file is missing, altered or not in the manifest.
    """
    return call(_evaluate_all, list(recorded_scores), how, models=models)


def require_reproduced(name: str, recorded: Scores, found: Scores, *, device: str) -> float:
    """Compare scores with the recorded ones.

    Args:
        name: The model, for the message.
        recorded: The recorded scores.
        found: The scores of this evaluation.
        device: Type of the device of this evaluation (`cpu`, `cuda`, …).

    Returns:
        The largest difference of any metric at any dimension.

    Raises:
        VerificationFailed: If it exceeds the tolerance of the device.
    """
    differences = {
        (dim, metric): _abs_diff(found[dim][metric], value)
        for dim, values in recorded.items()
        for metric, value in values.items()
    }
    (dim, metric), largest = max(differences.items(), key=lambda item: item[1])
    tolerance = device_tolerance(device)
    if not largest <= tolerance:
        raise VerificationFailed(
            "not-reproduced",
            f"{name}: its weights on disk give {metric} {found[dim][metric]:.6f} at {dim}, but "
            f"{recorded[dim][metric]:.6f} was recorded (tolerance {tolerance:g} on {device}); nothing was registered",
        )
    return largest


def _abs_diff(found: float, recorded: float) -> float:
    """Return infinity if a value is NaN: `max` may skip a NaN, since every comparison with it is false."""
    gap = abs(found - recorded)
    return gap if math.isfinite(gap) else math.inf


def device_tolerance(device: str) -> float:
    """Return the accepted difference of a repeated evaluation on a device (`cpu`, `cuda`, …)."""
    return CPU_TOLERANCE if device == "cpu" else GPU_TOLERANCE


def hash_of_manifest(folder: Path) -> str:
    """Return the sha256 of a checkpoint's manifest, which lists the hash of every file.

    Raises:
        EmbsweepError: If there is no manifest.
    """
    read_manifest(folder)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _evaluate_all(
    recorded_scores: Sequence[RecordedScores], how: VerificationSpec, models: tuple[Snapshot, ...]
) -> list[VerifiedEvaluation]:
    here = replace(how, model=localise(how.model, models))
    return [_evaluate_one(entry, here) for entry in recorded_scores]


def _evaluate_one(entry: RecordedScores, how: VerificationSpec) -> VerifiedEvaluation:
    from embsweep.evaluation.evaluator import evaluate_sets
    from embsweep.models.builders import build_model
    from embsweep.training.memory import release_memory

    digest = hash_of_manifest(entry.folder) if entry.folder else ""
    if entry.folder and entry.manifest_sha256 not in (None, digest):
        raise VerificationFailed(
            "altered-file",
            f"{entry.name}: {entry.folder / MANIFEST} was changed after the end of its run; nothing was registered",
        )
    model = build_model(how.model) if entry.folder is None else load_checkpoint(entry.folder)
    device = model.device.type
    evaluations = evaluate_sets(model, (how.validation, how.test), how.dims, batch_size=how.batch_size)
    difference = require_reproduced(entry.name, entry.recorded, next(evaluations).scores, device=device)
    test = next(evaluations)
    del model, evaluations
    release_memory()
    return VerifiedEvaluation(test, difference, device_tolerance(device), digest, device, os.getpid())
