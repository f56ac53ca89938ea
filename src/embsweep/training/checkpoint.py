"""A model on disk: safetensors only, in a folder written whole or not at all and read back only if its hashes match."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import CodedError
from embsweep.core.files import check_files, list_files, write_folder
from embsweep.evaluation.evaluator import check_untruncated
from embsweep.models.loading import load_model, no_progress_bars
from embsweep.models.safety import PICKLES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def save_checkpoint(model: SentenceTransformer, folder: Path) -> Path:
    """Write `model` to `folder` in place of what is there, whole or not at all (`write_folder`); returns `folder`.

    No model card is written and no network used. Raises EmbsweepError if a module can only be saved as a pickle.
    """
    check_untruncated(model)

    def write(fresh: Path) -> None:
        save_model(model, fresh)
        _refuse_pickles(fresh)

    write_folder(folder, write)
    return folder


def save_model(model: SentenceTransformer, folder: Path) -> None:
    """The model's files alone, without a card."""
    with no_progress_bars():
        model.save_pretrained(str(folder), create_model_card=False)


def check_checkpoint(folder: Path) -> None:
    """Raises EmbsweepError naming the file that is missing, altered, not listed in the manifest, or a pickle."""
    check_files(folder)
    _refuse_pickles(folder)


def load_checkpoint(folder: Path, device: str | None = None) -> SentenceTransformer:
    """The model saved in `folder`, after `check_checkpoint`; runs no code from it and never asks a hub."""
    check_checkpoint(folder)
    return load_model(str(folder), device, local_files_only=True)


def _refuse_pickles(folder: Path) -> None:
    for file in list_files(folder):
        if file.suffix in PICKLES:
            raise CodedError("unsafe-model", f"{file.name}: a pickle in a checkpoint; accepted: safetensors only")
