"""Model checkpoints: folders with safetensors only, written atomically and loaded only if the files' hashes match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.files import require_intact, write_folder
from embsweep.evaluation.evaluator import check_untruncated
from embsweep.models.loading import load_model, no_progress_bars
from embsweep.models.safety import check_no_pickles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def save_checkpoint(model: SentenceTransformer, folder: Path) -> Path:
    """Replace `folder` atomically (`write_folder`) by a checkpoint of `model`; return `folder`.

    Writes no model card and uses no network.

    Raises:
        EmbsweepError: If a module can only be saved as a pickle, or `model.truncate_dim` is set.
    """
    check_untruncated(model)
    write_checkpoint(folder, lambda fresh: save_model(model, fresh))
    return folder


def write_checkpoint(folder: Path, write: Callable[[Path], object]) -> None:
    """Replace `folder` atomically by a checkpoint whose files `write` writes to the folder that it receives.

    Raises:
        EmbsweepError: If it writes a pickle.
    """

    def write_safe(fresh: Path) -> None:
        write(fresh)
        check_no_pickles(fresh)

    write_folder(folder, write_safe)


def save_model(model: SentenceTransformer, folder: Path) -> None:
    """Write the model's files to `folder`, without a model card."""
    with no_progress_bars():
        model.save_pretrained(str(folder), create_model_card=False)


def check_checkpoint(folder: Path) -> None:
    """Check the files of a checkpoint against its manifest.

    Raises:
        EmbsweepError: If a file is missing, altered, not listed in the manifest, or a pickle; the error names the file.
    """
    require_intact(folder)
    check_no_pickles(folder)


def load_checkpoint(folder: Path, device: str | None = None) -> SentenceTransformer:
    """Load the model in `folder` after `check_checkpoint`; run no code from the folder and request nothing from a hub.

    Raises:
        EmbsweepError: As for `check_checkpoint`.
    """
    check_checkpoint(folder)
    return load_model(str(folder), device, local_files_only=True)
