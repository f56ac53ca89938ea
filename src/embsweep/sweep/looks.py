"""Readings of the test split on record: one file a look, its hash in the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from embsweep.config.base import Part
from embsweep.decide.evidence import ProofFacts, Reading
from embsweep.durable import write_whole
from embsweep.errors import EmbsweepError
from embsweep.search.ledger import Ledger, read_ledger
from embsweep.sweep.folder import SweepFolder

_NOTE = "looks"


class Look(Part):
    """One look at the test split. Keys are the models: sha256 of a checkpoint's manifest, or `base` and `BM25`.

    `number` counts the sweep's own looks, `earlier` those that other sweeps had taken at the same data before.
    `choice` says which model had which name: another choice after a look is another look.
    """

    number: int
    earlier: int = 0
    choice: dict[str, str] = Field(default_factory=dict)
    at: str
    readings: dict[str, Reading]
    proofs: Annotated[dict[str, ProofFacts], Field(strict=False)]


def count_other_looks(folder: SweepFolder, fingerprint: str, say: Callable[[str], None]) -> int:
    """Looks at the same data on record in the other sweeps of this storage, those moved aside among them.

    A ledger that cannot be read is said and left out: it must not stop another sweep.
    """
    count = 0
    for path in (folder.storage / "sweeps").glob("*/study.db"):
        try:
            found = read_ledger(path) if path != folder.ledger else None
        except EmbsweepError as error:
            say(f"Looks at the test split that another sweep has taken are not counted: {error}")
            continue
        if found and found[0].get("identity", {}).get("data fingerprint") == fingerprint:
            count += len(found[0].get(_NOTE, []))
    return count


def load_looks(ledger: Ledger, folder: SweepFolder) -> list[Look]:
    """The looks on record, oldest first; one whose file is gone or altered still counts, but tells nothing."""
    looks = []
    for noted in ledger.notes.get(_NOTE, []):
        empty = Look(number=noted["number"], earlier=noted.get("earlier", 0), at=noted["at"], readings={}, proofs={})
        looks.append(_load(folder.look(noted["number"]), noted["sha256"]) or empty)
    return looks


def record_look(ledger: Ledger, folder: SweepFolder, look: Look, models: Sequence[str]) -> None:
    """Note in the ledger that `models` were read, then write what was found: no number lies about without a note."""
    data = look.model_dump_json().encode()
    noted = {"number": look.number, "earlier": look.earlier, "at": look.at, "models": list(models)}
    digest = hashlib.sha256(data).hexdigest()
    ledger.note(**{_NOTE: [*ledger.notes.get(_NOTE, []), {**noted, "sha256": digest}]})
    write_whole(folder.look(look.number), data)


def _load(path: Path, sha256: str) -> Look | None:
    try:
        data = path.read_bytes()
        return Look.model_validate_json(data) if hashlib.sha256(data).hexdigest() == sha256 else None
    except (OSError, ValidationError):
        return None
