"""A model on disk: written whole or not at all, with the hash of every file, read back only if they match."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.errors import EmbsweepError
from embsweep.model.load import load_model, no_progress_bars
from embsweep.trial.evaluator import check_untruncated

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MANIFEST = "manifest.json"
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Suffixes of files that run code when they are loaded; a checkpoint holds safetensors only."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def save_checkpoint(model: SentenceTransformer, folder: Path) -> Path:
    """Write `model` to `folder` in place of what is there, and return `folder`.

    The files, then `manifest.json` with the sha256 and the size in bytes of each, are written and synced in a
    hidden sibling folder that takes the name in one step: a reader sees the old checkpoint or the new one, and a
    crash leaves the old one (its leftovers are removed by the next save). One writer per folder. No model card
    is written and no network used. Raises EmbsweepError if a module can only be saved as a pickle.
    """
    check_untruncated(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with no_progress_bars():
            model.save_pretrained(str(fresh), create_model_card=False)
        _refuse_pickles(fresh)
        _write_manifest(fresh)
        _replace(folder, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return folder


def check_checkpoint(folder: Path) -> None:
    """Raises EmbsweepError naming the file that is missing, altered, or not listed in the manifest."""
    listed = read_manifest(folder)
    present = {_relative(file, folder): file for file in _list_files(folder)}
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise EmbsweepError(f"{folder / name}: is missing")
        if name not in listed:
            raise EmbsweepError(f"{folder / name}: is not in {MANIFEST}")
        if _describe(present[name]) != listed[name]:
            raise EmbsweepError(f"{folder / name}: was altered, it does not match {MANIFEST}")
    _refuse_pickles(folder)


def load_checkpoint(folder: Path, device: str | None = None) -> SentenceTransformer:
    """The model saved in `folder`, after `check_checkpoint`; runs no code from it and never asks a hub."""
    check_checkpoint(folder)
    return load_model(str(folder), device, local_files_only=True)


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File name relative to `folder` → `sha256` (hex) and `size_bytes`; EmbsweepError if it cannot be read."""
    path = folder / MANIFEST
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["files"]
    except FileNotFoundError:
        raise EmbsweepError(f"{path}: is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbsweepError(f"{path}: cannot be read ({error!r})") from None
    if not isinstance(files, dict) or not files:
        raise EmbsweepError(f"{path}: lists no files")
    return files


def _write_manifest(folder: Path) -> None:
    files = {_relative(file, folder): _describe(file) for file in _list_files(folder)}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=2) + "\n", "utf-8")
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


def _list_files(folder: Path) -> list[Path]:
    """Every file below `folder` but the manifest; a link counts as a file."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [path for path in found if path != folder / MANIFEST]


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _describe(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "size_bytes": file.stat().st_size}
    except OSError as error:
        raise EmbsweepError(f"{file}: cannot be read ({error.strerror})") from None


def _refuse_pickles(folder: Path) -> None:
    for file in _list_files(folder):
        if file.suffix in PICKLES:
            raise EmbsweepError(f"{file.name}: a pickle in a checkpoint; accepted: safetensors only")


def _replace(target: Path, fresh: Path) -> None:
    """`fresh` becomes `target`; what `target` was is removed. Both lie in the same parent folder.

    Linux exchanges the two names atomically. A file system that cannot do so gets two renames, between which
    `target` is absent for a moment (and the old one stands beside it, with the suffix `.old`).
    """
    if not target.exists():
        fresh.rename(target)
    elif _exchange(fresh, target):
        shutil.rmtree(fresh)
    else:
        old = fresh.with_suffix(".old")
        target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names (renameat2 of Linux, glibc 2.28); False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return done == 0
