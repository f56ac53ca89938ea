"""Cache of base models' files on this machine: each is written once, atomically and checked; old ones are removed.

`<temporary folder>/embsweep-<user>/models/<key>`, the key being a hash of the contents: trials, processes and later
sweeps reuse existing files. TMPDIR moves it, for example to a larger disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from embsweep.core.errors import CodedError
from embsweep.models.snapshot import Snapshot, SnapshotFile

log = logging.getLogger(__name__)

Chunks = Callable[[SnapshotFile], Iterable[NDArray[np.uint8]]]
"""Function that returns the bytes of a file, in order."""

KEPT_BYTES = 24 * 2**30
"""Limit for all unpacked models together; above it, unused models are removed, least recently used first."""

_IN_USE: dict[Path, IO[bytes]] = {}
"""Locks of the models that this process reads from; the system releases them however the process ends."""


def unpack(snapshot: Snapshot, chunks: Chunks, root: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> Snapshot:
    """Return the snapshot in a folder of this machine, written there if no process has done so before.

    One process writes, the others wait for it. The hash of every file is read back from the disk before the folder
    takes its name in one step; a folder that lacks a file is written again. It is kept until this process ends.
    `root` None is `node_folder()`. EmbsweepError if the disk is full, or the bytes are not the snapshot's.
    """
    root = node_folder() if root is None else root
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / snapshot.key
    with _lock(folder, "write"):
        _use(folder)
        if not _is_complete(folder, snapshot):
            _free_space(root, snapshot, kept_bytes)
            _write(folder, snapshot, chunks)
        os.utime(folder)
    return snapshot.at(folder)


def node_folder() -> Path:
    """Return this user's models folder on this machine. EmbsweepError if it is not this user's alone."""
    mine = Path(tempfile.gettempdir(), f"embsweep-{os.getuid()}")
    mine.mkdir(mode=0o700, exist_ok=True)
    found = mine.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        message = f"{mine}: is not a folder of this user alone (mode 0700); remove it, or set TMPDIR"
        raise CodedError("unsafe-folder", message)
    return mine / "models"


def _write(folder: Path, snapshot: Snapshot, chunks: Chunks) -> None:
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    fresh.mkdir(mode=0o700)
    try:
        for file in snapshot.files:
            _write_file(fresh, file, chunks)
        if folder.exists():  # it lacks a file
            folder.rename(fresh.with_suffix(".old"))
            shutil.rmtree(fresh.with_suffix(".old"), ignore_errors=True)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _write_file(folder: Path, file: SnapshotFile, chunks: Chunks) -> None:
    name = PurePosixPath(file.name)
    if name.is_absolute() or ".." in name.parts:
        raise CodedError("bad-name", f"{file.name}: is not the name of a file inside a model's folder")
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("xb") as stream:
        for chunk in chunks(file):
            chunk.tofile(stream)
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(0o400)
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
            raise CodedError("altered-file", f"{file.name}: did not arrive as it was sent (its sha256 differs)")


def _is_complete(folder: Path, snapshot: Snapshot) -> bool:
    """Return whether all files exist with their sizes; the hashes were checked when they were written."""
    try:
        return all((folder / file.name).stat().st_size == file.size_bytes for file in snapshot.files)
    except OSError:
        return False


def _free_space(root: Path, snapshot: Snapshot, kept_bytes: int) -> None:
    """Remove unused models, least recently used first, until the new one fits. EmbsweepError if it never does."""
    others = [path for path in root.iterdir() if path.is_dir() and len(path.name) == len(snapshot.key)]
    taken = sum(map(_measure, others))
    for folder in sorted(others, key=lambda path: path.stat().st_mtime):
        if taken + snapshot.size_bytes <= kept_bytes and snapshot.size_bytes < shutil.disk_usage(root).free:
            return
        size = _measure(folder)
        if _remove_idle(folder):
            log.info("removed %s (%d bytes), a base model that was not in use", folder, size)
            taken -= size
    free = shutil.disk_usage(root).free
    if snapshot.size_bytes >= free:
        need = f"the base model takes {snapshot.size_bytes} bytes, {free} are free"
        message = f"{root}: {need}; start Ray on this machine with TMPDIR on a larger disk"
        raise CodedError("not-enough-room", message)


def _measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove_idle(folder: Path) -> bool:
    """Remove the folder unless a process uses or writes it; return whether it was removed."""
    try:
        with _lock(folder, "write", wait=False), _lock(folder, "use", wait=False):
            shutil.rmtree(folder)
    except BlockingIOError:
        return False
    return True


def _use(folder: Path) -> None:
    """Mark the folder as used by this process until it ends."""
    if folder not in _IN_USE:
        stream = _open_lock(folder, "use")
        fcntl.flock(stream, fcntl.LOCK_SH)
        _IN_USE[folder] = stream


@contextmanager
def _lock(folder: Path, purpose: str, *, wait: bool = True) -> Iterator[None]:
    with _open_lock(folder, purpose) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _open_lock(folder: Path, purpose: str) -> IO[bytes]:
    """Open a lock file beside the folder; it outlives it, or two processes could hold two locks of one name."""
    return folder.with_suffix(f".{purpose}-lock").open("ab")
