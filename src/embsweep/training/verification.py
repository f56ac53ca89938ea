"""Weights on disk, read back and measured in a fresh process: whether they are what was recorded of them."""

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
"""Largest difference of any metric between two measurements of the same weights, by device."""


class VerificationFailed(CodedError):
    """The weights on disk are not those that were measured. Nothing is registered."""


@dataclass(frozen=True)
class RecordedScores:
    """What is claimed of the weights in `folder` (None: the untrained base model): `recorded` scores on validation.

    `manifest_sha256` is that of the checkpoint's manifest when its run ended, None where nobody noted it.
    """

    name: str
    folder: Path | None
    recorded: Scores
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class VerifiedEvaluation:
    """A claim that held, with what the same process then found on the test split.

    `difference` is the largest of any recorded metric, `manifest_sha256` empty for a base model.
    """

    test: Evaluation
    difference: float
    tolerance: float
    manifest_sha256: str
    device: str
    pid: int


@dataclass(frozen=True)
class VerificationSpec:
    """How to measure: the base model, both held-out sides, the dimensions, texts a batch."""

    model: ModelConfig
    validation: RetrievalSet
    test: RetrievalSet
    dims: tuple[int, ...]
    batch_size: int


def verify_and_evaluate(
    claims: Sequence[RecordedScores],
    how: VerificationSpec,
    *,
    call: Callable[..., list[VerifiedEvaluation]] = run_in_subprocess,
    models: tuple[Snapshot, ...] = (),
) -> list[VerifiedEvaluation]:
    """Load each claim's weights in one newly started process, prove the claim, then read the test split.

    `call` starts the process, as `run_in_subprocess` does; `models` holds base models that may not lie there.

    VerificationFailed where a recorded metric is not reproduced, before any number of the test split leaves that process;
    EmbsweepError names a file that is missing, altered or unknown.
    """
    return call(_read_all, list(claims), how, models=models)


def check_reproduced(name: str, recorded: Scores, found: Scores, *, device: str) -> float:
    """The largest difference of any metric at any dimension. VerificationFailed where it is beyond the device's tolerance."""
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
    """Infinite where there is no number: no comparison with it would fail."""
    gap = abs(found - recorded)
    return gap if math.isfinite(gap) else math.inf


def device_tolerance(device: str) -> float:
    """How far a repeated measurement may be off on a device (`cpu`, `cuda`, …)."""
    return CPU_TOLERANCE if device == "cpu" else GPU_TOLERANCE


def hash_of_manifest(folder: Path) -> str:
    """One sha256 for a checkpoint: its manifest lists the hash of every file. EmbsweepError where there is none."""
    read_manifest(folder)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _read_all(
    claims: Sequence[RecordedScores], how: VerificationSpec, models: tuple[Snapshot, ...]
) -> list[VerifiedEvaluation]:
    here = replace(how, model=localise(how.model, models))
    return [_read_one(claim, here) for claim in claims]


def _read_one(claim: RecordedScores, how: VerificationSpec) -> VerifiedEvaluation:
    from embsweep.evaluation.evaluator import evaluate_sets
    from embsweep.models.registry import build_model
    from embsweep.training.memory import release_memory

    digest = hash_of_manifest(claim.folder) if claim.folder else ""
    if claim.folder and claim.manifest_sha256 not in (None, digest):
        raise VerificationFailed(
            "altered-file",
            f"{claim.name}: {claim.folder / MANIFEST} is not the one of when its run ended; nothing was registered",
        )
    model = build_model(how.model) if claim.folder is None else load_checkpoint(claim.folder)
    validation, test = evaluate_sets(model, (how.validation, how.test), how.dims, batch_size=how.batch_size)
    device = model.device.type
    del model
    release_memory()
    difference = check_reproduced(claim.name, claim.recorded, validation.scores, device=device)
    return VerifiedEvaluation(test, difference, device_tolerance(device), digest, device, os.getpid())
