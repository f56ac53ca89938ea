"""A folder's files by hash: recorded when weights are registered, compared before they are loaded.

The evidence beside a winner's weights: one file of the logged model, so that its manifest covers it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from embsweep.core.errors import CodedError
from embsweep.selection.evidence import Evidence

# What sentence-transformers and MLflow write for a model. Pickles (.bin, .pt, .pkl) and code are not among it.
DATA_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".md", ".yaml", ".yml"})
_DATA_NAMES = frozenset({"MLmodel"})


class UntrustedModel(CodedError):
    """A registered model's files are not the ones that were registered, or hold more than data."""


def hash_files(folder: Path) -> dict[str, str]:
    """Relative path → sha256 of every file in `folder`, sorted. A link is refused: it may point anywhere."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise UntrustedModel("wrong-file-kind", f"{name} is a link; accepted: plain files")
        if path.is_file():
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def hash_manifest(hashes: Mapping[str, str]) -> str:
    """One sha256 for all of a folder's files and names."""
    return hashlib.sha256(dump_manifest(hashes).encode()).hexdigest()


def dump_manifest(hashes: Mapping[str, str]) -> str:
    """The hashes as text for a registry tag (up to 100,000 characters there; a model has about twenty files)."""
    return json.dumps(dict(hashes), sort_keys=True)


def check_same(found: Mapping[str, str], recorded: Mapping[str, str]) -> None:
    """Raises UntrustedModel naming every file that was added, changed or removed since `recorded`."""
    diagnostics = [f"{name} was added" for name in sorted(found.keys() - recorded.keys())]
    diagnostics += [f"{name} was removed" for name in sorted(recorded.keys() - found.keys())]
    diagnostics += [
        f"{name} was changed" for name in sorted(found.keys() & recorded.keys()) if found[name] != recorded[name]
    ]
    if diagnostics:
        raise UntrustedModel("altered-file", "this is not the model that was registered: " + "; ".join(diagnostics))


def check_data_only(folder: Path) -> None:
    """Raises UntrustedModel if `folder` holds files of another kind than data; what they say is `check_no_code`'s."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in DATA_SUFFIXES and path.name not in _DATA_NAMES:
            raise UntrustedModel("unsafe-model", f"{name} is not data; accepted: {', '.join(sorted(DATA_SUFFIXES))}")


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
        "embsweep.holdout_evaluations": str(evidence.holdout_evaluations),
        "embsweep.optimism": f"{evidence.optimism:.6f}",
        "embsweep.smallest_dim": str(evidence.smallest_dim),
    }
