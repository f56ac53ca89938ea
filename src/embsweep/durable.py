"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FULL = ("no space left", "disk is full", "disk quota exceeded")
"""Of the system, of sqlite, of a quota; torch and safetensors repeat the system's words."""


def says_full(text: str) -> bool:
    """Whether an error's words are those of a disk without room."""
    return any(words in text.lower() for words in _FULL)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made where there is none. An OSError leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_whole(path) as file:
        file.write(data)


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name of its own; synced and moved to `path` at the end, if all went well.

    The folder is synced behind it: without that a power cut may take the name back, or leave the old file.
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
    """Force a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
