"""A folder of Ray's own files (sockets, logs, spilled objects) that only this user can open, deleted with this process.

Ray's default, /tmp/ray, can be read and changed by every user of the machine.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import ray

_PREFIX = "esr-"
_LOCK = ".in-use"
_MOST_BYTES = 107
"""Longest path of a Unix socket on Linux."""
_SOCKET = "/session_2026-11-30_00-00-00_000000_0000000/sockets/plasma_store"
_RANDOM = 8
_TRIES = 5
_GRACE_S = 60.0


def create_private_folder() -> Path:
    """Create the folder with mode 0700, under RAY_TMPDIR or the system's temporary folder.

    It is short enough for Ray's sockets. Folders that killed processes of this user have left are deleted first.
    """
    base = choose_base(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    for leftover in base.glob(f"{_PREFIX}*"):
        _delete_unused(leftover)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    descriptor = _lock(folder)
    atexit.register(_shut_down, folder, descriptor)
    return folder


def choose_base(named: str) -> Path:
    """Return the folder, or /tmp if sockets below it would have too long a name, or others may rename what is in it."""
    longest = len(os.fsencode(named)) + 1 + len(_PREFIX) + _RANDOM + len(_SOCKET)
    with suppress(OSError):
        mode = Path(named).stat().st_mode
        is_safe = bool(mode & stat.S_ISVTX) or not mode & (stat.S_IWGRP | stat.S_IWOTH)
        if longest <= _MOST_BYTES and is_safe and os.access(named, os.W_OK):
            return Path(named).absolute()
    return Path("/tmp")  # noqa: S108 - a folder of mode 0700 is created in it


def _lock(folder: Path) -> int | None:
    """Hold the folder's lock, and return its descriptor; None if another process holds it or it is not our own."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _delete_unused(folder: Path) -> None:
    """Delete a folder of this user that no process holds; a new one may be about to be locked."""
    with suppress(OSError):
        found = folder.lstat()
        is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not is_own or time.time() - found.st_mtime < _GRACE_S:
            return
    if (descriptor := _lock(folder)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _shut_down(folder: Path, descriptor: int | None) -> None:
    """End Ray and delete the folder; its daemons may write to it until they have ended."""
    ray.shutdown()
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.2)
    if descriptor is not None:
        os.close(descriptor)
