"""The evidence beside a winner's weights: one file of the logged model, so that its manifest covers it too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from embsweep.decide.evidence import Evidence
from embsweep.errors import CodedError

EVIDENCE_FILE = "evidence.json"
EVIDENCE_TAG = "embsweep.evidence"
"""Hash of what is claimed, on the logged model and the version; tells two claims about the same weights apart."""

_OF_ONE_PASS = {"created_at", "proof"}


class UnreadableEvidence(CodedError):
    """A version's evidence is absent or has another format."""


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write `evidence.json` into the folder of a model that is about to be logged."""
    (folder / EVIDENCE_FILE).write_text(evidence.model_dump_json() + "\n", encoding="utf-8")


def read_evidence(folder: Path) -> Evidence:
    """The evidence in a fetched model's folder, every part checked. UnreadableEvidence if there is none to be read."""
    path = folder / EVIDENCE_FILE
    if not path.is_file():
        raise UnreadableEvidence("missing-file", "it was registered without evidence; run its sweep again")
    try:
        return Evidence.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = f"its {EVIDENCE_FILE} cannot be read: {place or 'it'}: {first['msg']}"
        raise UnreadableEvidence("bad-format", said) from None


def hash_evidence(evidence: Evidence) -> str:
    """sha256 of all that is claimed but time and process, so that an interrupted registration finds itself again."""
    return hashlib.sha256(evidence.model_dump_json(exclude=_OF_ONE_PASS).encode()).hexdigest()


def evidence_tags(evidence: Evidence) -> dict[str, str]:
    """What a reader of the registry sees of it at a glance."""
    return {
        EVIDENCE_TAG: hash_evidence(evidence),
        "embsweep.complete": str(evidence.complete).lower(),
        "embsweep.verdict": evidence.verdict.outcome,
        "embsweep.look": str(evidence.look),
        "embsweep.optimism": f"{evidence.optimism:.6f}",
        "embsweep.smallest_dim": str(evidence.smallest_dim),
    }
