"""Atomic writes of files and folders, manifests with the hash of every file, and paths that begin with `~`."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from embsweep.core.errors import CodedError, Diagnostic, InputError

_FULL = ("no space left", "disk is full", "disk quota exceeded")
"""Error texts of the system, sqlite and quotas; torch and safetensors repeat the system's text."""


def is_disk_full_error(text: str) -> bool:
    """Return whether the text of an error reports a full disk."""
    return any(words in text.lower() for words in _FULL)


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file atomically; create its folder if there is none.

    Raises:
        OSError: If the file cannot be written. No partial file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file under a unique temporary name; on success it is synced and renamed to `path`, else removed.

    The folder is synced afterwards: otherwise a power failure may undo the rename, or restore the old file.
    """
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


MANIFEST = "manifest.json"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Replace `folder` atomically by a new folder that `write` fills.

    The files, then `manifest.json` with the sha256 and the size in bytes of each, are written and synced in a hidden
    sibling folder that takes the name in one step: a reader sees the old folder or the new one, and a crash leaves the
    old one (the next call removes what the crash left). There must be only one writer per folder.

    Args:
        folder: Folder to replace or create; its parents are created.
        write: Writes all files to the empty folder whose path it receives.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(folder)
    remove_leftovers(folder)
    fresh = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        fresh.mkdir()
        write(fresh)
        _write_manifest(fresh)
        _replace(folder, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def restore_folder(folder: Path) -> None:
    """Restore the name of `folder` that a crash removed, on a file system that cannot exchange two names."""
    if not folder.exists():
        for old in sorted(folder.parent.glob(f".{folder.name}.*.old"))[:1]:
            old.rename(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary siblings of `folder` that a crash during a write has left."""
    for suffix in ("tmp", "old"):
        for leftover in folder.parent.glob(f".{folder.name}.*.{suffix}"):
            remove(leftover)


def require_intact(folder: Path) -> None:
    """Check that the files of `folder` are those of its manifest.

    Raises:
        CodedError: If a file, or the manifest, is missing, unreadable, altered or not listed, or if there is a link,
            whose target may change, or a pipe, which would block. Names the first one.
    """
    listed = read_manifest(folder)
    present = list_files(folder)
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise CodedError("missing-file", f"{folder / name}: is missing")
        if name not in listed:
            raise CodedError("unlisted-file", f"{folder / name}: is not in {MANIFEST}")
        if present[name].is_symlink() or not present[name].is_file():
            raise CodedError("wrong-file-kind", f"{folder / name}: is a link, pipe or device; accepted: regular files")
        if describe_file(present[name]) != listed[name]:
            raise CodedError("altered-file", f"{folder / name}: was altered, it does not match {MANIFEST}")


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest: file name relative to `folder` → `sha256` (hex) and `size_bytes`.

    Raises:
        CodedError: If the manifest is missing, unreadable or empty.
    """
    path = folder / MANIFEST
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["files"]
    except FileNotFoundError:
        raise CodedError("missing-file", f"{path}: is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CodedError("unreadable", f"{path}: cannot be read ({error!r})") from None
    if not isinstance(files, dict) or not files:
        raise CodedError("empty", f"{path}: lists no files")
    return files


def list_files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` except the manifest by its name there; a link counts as a file."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in found if path != folder / MANIFEST}


def _write_manifest(folder: Path) -> None:
    files = {name: describe_file(file) for name, file in list_files(folder).items()}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=2) + "\n", "utf-8")
    for path in (*folder.rglob("*"), folder):
        sync(path)


def hash_file(file: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_file(file: Path) -> dict[str, Any]:
    """Return the sha256 (hex) and the size in bytes of a file, as in the manifest.

    Raises:
        CodedError: If the file cannot be read.
    """
    try:
        return {"sha256": hash_file(file), "size_bytes": file.stat().st_size}
    except OSError as error:
        raise CodedError("unreadable", f"{file}: cannot be read ({error.strerror})") from None


def _replace(target: Path, fresh: Path) -> None:
    """Move `fresh` to `target` and remove the old `target`. Both are on one file system.

    Linux exchanges the two names atomically. On a file system that cannot, there are two renames, between which
    `target` is absent for a moment (the old one is beside it, with the suffix `.old`).
    """
    if not target.exists():
        fresh.rename(target)
    elif _exchange(fresh, target):
        remove(fresh)
    else:
        old = fresh.with_suffix(".old")
        target.rename(old)
        fresh.rename(target)
        remove(old)
    sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file or folder as far as possible: a reader may have a file open, and NFS then keeps its name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names (Linux renameat2, glibc 2.28); return False if the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return done == 0


def expand_home(path: str | Path, key: str = "path") -> Path:
    """Return `path` with `~` or `~user` expanded.

    Args:
        path: A path of the user.
        key: Dotted configuration key or option that names it, for the error.

    Raises:
        InputError: If there is no such user on this machine.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            Diagnostic("unknown-user", key, "begins with '~' and an unknown user name", str(path), "a path")
        ) from None


def data_cache(storage: Path) -> Path:
    """Return the folder that caches data sets for all sweeps and promotions of a storage folder."""
    return storage / "sweeps" / ".cache"
