"""The docstrings' pairs on disk: written whole or not at all, and checked against their hash when read."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Sequence
from pathlib import Path

from embsweep.data.collection import Pair
from embsweep.data.packages import Package
from embsweep.durable import write_whole

FORMAT = 1
"""To be raised when the extraction of `docstrings.py` or the form of this file changes."""

_log = logging.getLogger(__name__)


def find_cache(cache_dir: Path, packages: Sequence[Package]) -> Path:
    """Path of the cache for these packages: another version, interpreter or format has another name."""
    key = [FORMAT, platform.python_version(), [[package.name, package.version] for package in packages]]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_dir / f"docstrings-{fingerprint}.jsonl"


def read_cache(cache_dir: Path, packages: Sequence[Package]) -> list[Pair] | None:
    """The pairs, or None where there is no cache or where it is torn; the latter with a warning."""
    path = find_cache(cache_dir, packages)
    try:
        recorded, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the cache %s cannot be read (%s): it is built again", path, error)
        return None
    if recorded.decode("ascii", errors="replace") != hashlib.sha256(body).hexdigest():
        _log.warning("the cache %s is damaged: it is built again", path)
        return None
    try:
        rows = [json.loads(line) for line in body.decode("ascii").splitlines()]
        return [Pair(summary, text, place=place) for summary, text, place in rows]
    except (ValueError, TypeError, RecursionError):
        _log.warning("the cache %s is whole but holds no pairs: it is built again", path)
        return None


def write_cache(cache_dir: Path, packages: Sequence[Package], pairs: Sequence[Pair]) -> None:
    """Write the pairs under a temporary name and move them into place; a disk that refuses is only a warning."""
    body = "".join(json.dumps([pair.anchor, pair.positive, pair.place]) + "\n" for pair in pairs).encode("ascii")
    path = find_cache(cache_dir, packages)
    try:
        write_whole(path, hashlib.sha256(body).hexdigest().encode("ascii") + b"\n" + body)
    except OSError as error:
        _log.warning("the cache %s cannot be written (%s): the next run reads the packages again", path, error)
