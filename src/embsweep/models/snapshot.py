"""The files of a base model as a value that can be sent: their names, their hashes, their bytes in chunks.

Only what a model is read from: no code, no other framework's weights, and a pickle only if a folder has its
weights in nothing else (transformers reads it with `weights_only`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from embsweep.config.training import ModelConfig
from embsweep.core.errors import CodedError
from embsweep.models.hub import find_folder
from embsweep.models.safety import PICKLES

CHUNK_BYTES = 64 * 2**20
"""Bytes of a file that are held in memory at a time."""

_CODE = frozenset({".py", ".pyc", ".so", ".sh", ".ipynb"})
_FOREIGN = frozenset({".gguf", ".h5", ".mlmodel", ".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite", ".xml"})
_WEIGHTS = "pytorch_model"


@dataclass(frozen=True)
class SnapshotFile:
    """One file: its name relative to the model's folder, with slashes, and what is in it (sha256 in hex)."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """The files of the base model that a configuration calls `source` at `revision`, sorted by name, in `folder`.

    Equal files give an equal `key`, in any folder.
    """

    source: str
    revision: str | None
    folder: Path
    files: tuple[SnapshotFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def key(self) -> str:
        """A sha256 over the names and contents of all files, in hex."""
        listing = "".join(f"{file.sha256} {file.size_bytes} {file.name}\n" for file in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()

    def read_chunks(self, file: SnapshotFile, chunk_bytes: int = CHUNK_BYTES) -> Iterator[NDArray[np.uint8]]:
        """Yield the file's bytes in order, uint8 [at most `chunk_bytes`]. EmbsweepError if its length has changed."""
        path, seen = self.folder / file.name, 0
        with path.open("rb") as stream:
            while len(chunk := np.fromfile(stream, np.uint8, chunk_bytes)):
                seen += len(chunk)
                yield chunk
        if seen != file.size_bytes:
            raise CodedError("altered-file", f"{path}: was changed while it was read")

    def at(self, folder: Path) -> Snapshot:
        """Return the same files in another folder."""
        return replace(self, folder=folder)


def find_snapshot(cfg: ModelConfig) -> Snapshot | None:
    """Return the files of `cfg`'s model, each hashed, from its folder or the Hugging Face cache, not from the hub.

    None if nothing has to be sent (a model that comes with an installed package), or nothing is there yet.
    """
    folder = _find_model_folder(cfg) if cfg.kind == "hub" else None
    return None if folder is None else read_snapshot(folder.absolute(), source=str(cfg.source), revision=cfg.revision)


def read_snapshot(folder: Path, *, source: str, revision: str | None = None) -> Snapshot:
    """Return the files that a model is read from in `folder`, each hashed. EmbsweepError if one is unreadable."""
    names = sorted(select_files(path.relative_to(folder) for path in _walk(folder)))
    try:
        return Snapshot(source, revision, folder, tuple(_describe(folder, name) for name in names))
    except OSError as error:
        raise CodedError("unreadable", f"{error.filename}: cannot be read ({error.strerror})") from error


def localise(cfg: ModelConfig, snapshots: Iterable[Snapshot]) -> ModelConfig:
    """Return `cfg` with the folder of its snapshot as `source`, or unchanged if there is no snapshot of it."""
    for snapshot in snapshots:
        if cfg.kind == "hub" and (str(cfg.source), cfg.revision) == (snapshot.source, snapshot.revision):
            return cfg.model_copy(update={"source": str(snapshot.folder), "revision": None})
    return cfg


def select_files(paths: Iterable[Path]) -> set[str]:
    """Select those of a folder's files, relative to it, that a model is read from."""
    names = {PurePosixPath(path) for path in paths if not any(part.startswith(".") for part in path.parts)}
    with_tensors = {name.parent for name in names if name.suffix == ".safetensors"}
    return {
        str(name)
        for name in names
        if name.suffix not in _CODE | _FOREIGN
        and (name.suffix not in PICKLES or (name.name.startswith(_WEIGHTS) and name.parent not in with_tensors))
    }


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file below; the cache's are links to its blobs. A link to a folder is not followed."""
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names)


def _describe(folder: Path, name: str) -> SnapshotFile:
    with (folder / name).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return SnapshotFile(name, stream.tell(), digest)


def _find_model_folder(cfg: ModelConfig) -> Path | None:
    """Return a local folder as it is, else the cache's snapshot that contains the model's configuration."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if (folder := find_folder(cfg)) is not None:
        return folder
    for name in ("modules.json", "config.json"):
        try:
            found = try_to_load_from_cache(str(cfg.source), name, revision=cfg.revision)
        except HFValidationError:
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None
