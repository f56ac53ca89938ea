"""Files of a registered model: their hashes, the check for data files, and the evidence.

The hashes (the manifest) are recorded when weights are registered, and compared before they are loaded. The evidence
is one of the files of the logged model, so the manifest covers it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embsweep.core.errors import CodedError
from embsweep.core.files import hash_file
from embsweep.selection.evidence import Evidence, upgrade_evidence

# What sentence-transformers and MLflow write for a model. Pickles (.bin, .pt, .pkl) and code are not included.
DATA_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".md", ".yaml", ".yml"})


class UntrustedModel(CodedError):
    """Error for a registered model whose files differ from the registered ones, or are not only data."""


def hash_files(folder: Path) -> dict[str, str]:
    """Compute relative path → SHA-256 of every file in `folder`, sorted by path.

    Raises:
        UntrustedModel: If the folder contains a symbolic link, which may point anywhere.
    """
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise UntrustedModel("wrong-file-kind", f"{name} is a link; accepted: plain files")
        if path.is_file():
            hashes[name] = hash_file(path)
    return hashes


def hash_manifest(hashes: Mapping[str, str]) -> str:
    """Compute one SHA-256 over the names and hashes of all files."""
    return hashlib.sha256(dump_manifest(hashes).encode()).hexdigest()


def dump_manifest(hashes: Mapping[str, str]) -> str:
    """Serialise the hashes for a registry tag (at most 100,000 characters; a model has about twenty files)."""
    return json.dumps(dict(hashes), sort_keys=True)


def require_same(found: Mapping[str, str], recorded: Mapping[str, str]) -> None:
    """Check that the files are those that were recorded.

    Raises:
        UntrustedModel: If a file was added, changed or removed; the message names each.
    """
    differences = [
        *(f"{name} was added" for name in sorted(found.keys() - recorded.keys())),
        *(f"{name} was removed" for name in sorted(recorded.keys() - found.keys())),
        *(f"{name} was changed" for name in sorted(found.keys() & recorded.keys()) if found[name] != recorded[name]),
    ]
    if differences:
        raise UntrustedModel("altered-file", "this is not the model that was registered: " + "; ".join(differences))


def require_data_only(folder: Path) -> None:
    """Check by suffix that `folder` has only data files; `check_no_code` checks their contents.

    Raises:
        UntrustedModel: If it has a file of another kind.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in DATA_SUFFIXES and path.name != "MLmodel":
            raise UntrustedModel("unsafe-model", f"{name} is not data; accepted: {', '.join(sorted(DATA_SUFFIXES))}")


EVIDENCE_FILE = "evidence.json"
EVIDENCE_TAG = "embsweep.evidence"
"""Tag of logged model and version: hash of the evidence; distinguishes two registrations of the same weights."""


class UnreadableEvidence(CodedError):
    """Error for a version whose evidence is missing or has another format."""


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write `evidence.json` into the folder of a model that is about to be logged."""
    (folder / EVIDENCE_FILE).write_text(evidence.model_dump_json() + "\n", encoding="utf-8")


def read_evidence(folder: Path) -> Evidence:
    """Read and validate the evidence in the folder of a fetched model.

    Raises:
        UnreadableEvidence: If the file is missing or invalid.
    """
    path = folder / EVIDENCE_FILE
    if not path.is_file():
        raise UnreadableEvidence("missing-file", "it was registered without evidence; run its sweep again")
    try:
        return Evidence.model_validate_json(upgrade_evidence(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UnreadableEvidence(
            "bad-format", f"its {EVIDENCE_FILE} cannot be read: {place or 'it'}: {first['msg']}"
        ) from None


def hash_evidence(evidence: Evidence) -> str:
    """Compute the SHA-256 of the evidence without time and verification, which differ when a registration is repeated.

    A repeated call then finds the version of an interrupted one. Slices do not count either: they may be set later.
    """
    without: Any = {"created_at": True, "verification": True, "slices": True, "data": {"config": {"slice"}}}
    return hashlib.sha256(evidence.model_dump_json(exclude=without).encode()).hexdigest()


def evidence_tags(evidence: Evidence) -> dict[str, str]:
    """Return the tags of a version that summarise its evidence."""
    return {
        EVIDENCE_TAG: hash_evidence(evidence),
        "embsweep.complete": str(evidence.complete).lower(),
        "embsweep.verdict": evidence.verdict.outcome,
        "embsweep.holdout_evaluations": str(evidence.holdout_evaluations),
        "embsweep.optimism": f"{evidence.optimism:.6f}",
        "embsweep.smallest_dim": str(evidence.smallest_dim),
    }
