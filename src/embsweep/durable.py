"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

_FULL = ("no space left", "disk is full", "disk quota exceeded")
"""Of the system, of sqlite, of a quota; torch and safetensors repeat the system's words."""


def says_full(text: str) -> bool:
    """Whether an error's words are those of a disk without room."""
    return any(words in text.lower() for words in _FULL)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name of this process, sync it and move it into place; OSError leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
