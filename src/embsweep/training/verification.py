"""Verify in a new process that the weights on disk reproduce their recorded scores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.model import ModelConfig
from embsweep.core.errors import CodedError
from embsweep.core.files import MANIFEST, read_manifest
from embsweep.core.gpu_errors import explain_gpu_errors
from embsweep.core.precision import default_precision
from embsweep.core.subprocess import run_in_subprocess
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import EncodedSet, Evaluation, encode_sets, encode_texts, evaluate_encoded
from embsweep.evaluation.quantization import StoredEvaluation, evaluate_stored
from embsweep.models.builders import build_model
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.selection.evidence import VerificationRecord
from embsweep.selection.scores import Scores, find_largest_difference
from embsweep.training.checkpoint import load_checkpoint
from embsweep.training.memory import release_memory

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class VerificationFailed(CodedError):
    """Raised if the weights on disk are not those that were evaluated. Nothing is registered."""


@dataclass(frozen=True)
class RecordedScores:
    """The weights in `folder` (None: the untrained base model) and their `recorded` validation scores.

    `manifest_sha256` is that of the checkpoint's manifest when its run ended, None if it was not recorded. `device` is
    the device of the recorded scores (`cpu`, `cuda:0`, …).
    """

    name: str
    folder: Path | None
    recorded: Scores
    manifest_sha256: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class VerifiedEvaluation:
    """The test evaluation of a model, and how its recorded scores were reproduced in the same process.

    `stored` has the same test evaluation with quantised passages, for the models of which it was requested.
    """

    test: Evaluation
    verification: VerificationRecord
    stored: tuple[StoredEvaluation, ...] = ()


@dataclass(frozen=True)
class QuantizationSpec:
    """The model whose test embeddings are also quantised, the metric, and the training passages for calibration."""

    name: str
    metric: str
    calibration: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class VerificationSpec:
    """Settings of the evaluations: the base model, both held-out splits, the dimensions, texts per batch.

    With `quantization`, one model is also evaluated with quantised passages.
    """

    model: ModelConfig
    validation: RetrievalSet
    test: RetrievalSet
    dims: tuple[int, ...]
    batch_size: int
    quantization: QuantizationSpec | None = None


def verify_and_evaluate(
    recorded_scores: Sequence[RecordedScores],
    how: VerificationSpec,
    *,
    call: Callable[..., list[VerifiedEvaluation]] = run_in_subprocess,
    models: tuple[ModelCopy, ...] = (),
) -> list[VerifiedEvaluation]:
    """Evaluate each model in one new process; return its test scores if its recorded scores are reproduced.

    Each model is evaluated on validation data first; it is evaluated on test data only if that reproduces its scores.

    Args:
        recorded_scores: The models with their recorded scores.
        how: Settings of the evaluations.
        call: Runs a function in a new process, as `run_in_subprocess` does.
        models: Copies of base models; the base model is loaded from its copy if there is one.

    Raises:
        VerificationFailed: If a recorded metric is not reproduced. No test score is computed then.
        EmbsweepError: If a file is missing, altered or not in the manifest.
    """
    return call(_evaluate_all, list(recorded_scores), how, models=models)


def require_reproduced(name: str, recorded: Scores, found: Scores, *, devices: tuple[str, ...]) -> float:
    """Compare scores with the recorded ones.

    Args:
        name: The model, for the message.
        recorded: The recorded scores.
        found: The scores of this evaluation.
        devices: The devices of the recorded evaluation and of this one (`cpu`, `cuda:0`, …).

    Returns:
        The largest difference of any metric at any dimension.

    Raises:
        VerificationFailed: If it exceeds the tolerance of the devices.
    """
    largest, dim, metric = find_largest_difference(recorded, found)
    tolerance, where = device_tolerance(*devices), " and ".join(dict.fromkeys(devices))
    if not largest <= tolerance:
        raise VerificationFailed(
            "not-reproduced",
            f"{name}: its weights on disk give {metric} {found[dim][metric]:.6f} at {dim}, but "
            f"{recorded[dim][metric]:.6f} was recorded (tolerance {tolerance:g} on {where}); nothing was registered",
        )
    return largest


def device_tolerance(*devices: str) -> float:
    """Return the largest accepted difference of any metric between evaluations of the same weights.

    A GPU's kernels round otherwise than a CPU's, whichever of the two is the second.

    Args:
        *devices: The devices of the evaluations (`cpu`, `cuda:0`, …).
    """
    return 1e-6 if all(device == "cpu" for device in devices) else 1e-3


def hash_of_manifest(folder: Path) -> str:
    """Return the sha256 of a checkpoint's manifest, which lists the hash of every file.

    Raises:
        EmbsweepError: If there is no manifest.
    """
    read_manifest(folder)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _evaluate_all(
    recorded_scores: Sequence[RecordedScores], how: VerificationSpec, models: tuple[ModelCopy, ...]
) -> list[VerifiedEvaluation]:
    return [_evaluate_one(entry, how, find_copy(how.model, models)) for entry in recorded_scores]


def _evaluate_one(entry: RecordedScores, how: VerificationSpec, base: Path | None) -> VerifiedEvaluation:
    digest = hash_of_manifest(entry.folder) if entry.folder else ""
    if entry.folder and entry.manifest_sha256 not in (None, digest):
        raise VerificationFailed(
            "altered-file",
            f"{entry.name}: {entry.folder / MANIFEST} was changed after the end of its run; nothing was registered",
        )
    with explain_gpu_errors(f"verifying {entry.name}"):
        model = build_model(how.model, folder=base) if entry.folder is None else load_checkpoint(entry.folder)
        devices = (entry.device, model.device.type)
        sets = encode_sets(model, (how.validation, how.test), batch_size=how.batch_size)
        found = evaluate_encoded(next(sets), how.dims).scores
        difference = require_reproduced(entry.name, entry.recorded, found, devices=devices)
        encoded = next(sets)
        test = evaluate_encoded(encoded, how.dims)
        wanted = how.quantization if how.quantization and how.quantization.name == entry.name else None
        stored = _quantize(model, encoded, test, how.batch_size, wanted) if wanted else ()
    del model, sets, encoded
    release_memory()
    verification = VerificationRecord(
        manifest_sha256=digest,
        device=devices[-1],
        difference=difference,
        tolerance=device_tolerance(*devices),
        pid=os.getpid(),
    )
    return VerifiedEvaluation(test, verification, stored)


def _quantize(
    model: SentenceTransformer, encoded: EncodedSet, test: Evaluation, batch_size: int, spec: QuantizationSpec
) -> tuple[StoredEvaluation, ...]:
    """Evaluate stored embeddings; of the passages for calibration those that the corpus lacks are encoded."""
    import torch

    rows = {text: row for row, text in enumerate(encoded.data.corpus)}
    known = [rows[text] for text in spec.calibration if text in rows]
    missing = [text for text in spec.calibration if text not in rows]
    with default_precision():
        further = [encode_texts(model, missing, "document", batch_size=batch_size)] if missing else []
        calibration = torch.cat([encoded.corpus[known], *further])
        return tuple(evaluate_stored(encoded, test, calibration, spec.metric))
