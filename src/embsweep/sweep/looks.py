"""Readings of the test split on record: one file a look, its hash in the ledger."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from embsweep.config.base import Part
from embsweep.decide.evidence import ProofFacts, Reading
from embsweep.search.ledger import Ledger
from embsweep.sweep.folder import SweepFolder

_NOTE = "looks"


class Look(Part):
    """One look at the test split. Keys are the models: sha256 of a checkpoint's manifest, or `base` and `BM25`."""

    number: int
    at: str
    readings: dict[str, Reading]
    proofs: Annotated[dict[str, ProofFacts], Field(strict=False)]


def load_looks(ledger: Ledger, folder: SweepFolder) -> list[Look]:
    """The looks on record, oldest first; one whose file is gone or altered still counts, but tells nothing."""
    looks = []
    for noted in ledger.notes.get(_NOTE, []):
        empty = Look(number=noted["number"], at=noted["at"], readings={}, proofs={})
        looks.append(_load(folder.look(noted["number"]), noted["sha256"]) or empty)
    return looks


def record_look(ledger: Ledger, folder: SweepFolder, look: Look, models: Sequence[str]) -> None:
    """Write what was read, then note in the ledger that it was, and for which `models`."""
    data = look.model_dump_json().encode()
    write_whole(folder.look(look.number), data)
    noted = {"number": look.number, "at": look.at, "models": list(models), "sha256": hashlib.sha256(data).hexdigest()}
    ledger.note(**{_NOTE: [*ledger.notes.get(_NOTE, []), noted]})


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.tmp")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _load(path: Path, sha256: str) -> Look | None:
    try:
        data = path.read_bytes()
        return Look.model_validate_json(data) if hashlib.sha256(data).hexdigest() == sha256 else None
    except (OSError, ValidationError):
        return None
