"""A folder's files by hash: recorded when weights are registered, compared before they are loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from embsweep.errors import CodedError

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
    faults = [f"{name} was added" for name in sorted(found.keys() - recorded.keys())]
    faults += [f"{name} was removed" for name in sorted(recorded.keys() - found.keys())]
    faults += [
        f"{name} was changed" for name in sorted(found.keys() & recorded.keys()) if found[name] != recorded[name]
    ]
    if faults:
        raise UntrustedModel("altered-file", "this is not the model that was registered: " + "; ".join(faults))


def check_data_only(folder: Path) -> None:
    """Raises UntrustedModel if `folder` holds files of another kind than data; what they say is `check_no_code`'s."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in DATA_SUFFIXES and path.name not in _DATA_NAMES:
            raise UntrustedModel("unsafe-model", f"{name} is not data; accepted: {', '.join(sorted(DATA_SUFFIXES))}")
