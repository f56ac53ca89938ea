"""Copies of base models in the storage folder, which every machine of a cluster mounts: trials load them from there.

`<storage>/.cache/models/<key>`, the key being a hash of the contents: sweeps with the same model share a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from embsweep.config.model import ModelConfig
from embsweep.core.errors import CodedError, InputError
from embsweep.core.files import MANIFEST, describe_file, list_files, read_manifest, require_intact, write_folder
from embsweep.core.ownership import open_lock
from embsweep.models.builders import KINDS
from embsweep.models.safety import PICKLES

_CODE = frozenset({".py", ".pyc", ".so", ".sh", ".ipynb"})
_FOREIGN = frozenset({".gguf", ".h5", ".mlmodel", ".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite", ".xml"})
_PICKLED_WEIGHTS = "pytorch_model"


@dataclass(frozen=True)
class ModelCopy:
    """The files of the base model that a configuration calls `kind`, `source` and `revision`, copied to `folder`."""

    kind: str
    source: str | None
    revision: str | None
    folder: Path


def find_copy(cfg: ModelConfig, copies: Iterable[ModelCopy]) -> Path | None:
    """Return the folder with the copy of `cfg`'s model, or None if there is none."""
    wanted = (cfg.kind, cfg.source, cfg.revision)
    return next((copy.folder for copy in copies if (copy.kind, copy.source, copy.revision) == wanted), None)


def copy_model(cfg: ModelConfig, root: Path) -> ModelCopy:
    """Copy the files of a model to a folder of `root`, unless an intact copy is there; download the model if necessary.

    The copy takes its name in one step; the next call removes what an interrupted one has left. Another process that
    copies the same model is waited for.

    Args:
        cfg: Configuration of the model.
        root: Existing folder of all copies.

    Raises:
        InputError: If the model is not available, or not safe to load.
        CodedError: If a file of the model cannot be read, or changes during the copy.
        OSError: If the disk is full. No part of the copy remains.
    """
    if diagnostics := KINDS[cfg.kind].check(cfg):
        raise InputError(diagnostics)
    source = KINDS[cfg.kind].fetch(cfg)
    names = select_files(list_files(source))
    files = {name: describe_file(source / name) for name in sorted(names)}
    key = hashlib.sha256(json.dumps(files, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
    target = root / key
    with open_lock(root / f".{key}.lock", mode=0o666) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_files(target, files):
            write_folder(target, partial(_copy_files, source, files))
            if read_manifest(target) != files:
                raise CodedError(
                    "altered-file", f"{source}: was changed while it was copied; run the same command again"
                )
    return ModelCopy(cfg.kind, cfg.source, cfg.revision, target)


def select_files(names: Iterable[str]) -> set[str]:
    """Select those files of a model's folder that it is loaded from: no code, no other framework's weights.

    A pickle is selected only if its folder has the weights in nothing else (torch reads it with `weights_only`).

    Args:
        names: Paths relative to the folder, with slashes.
    """
    paths = {PurePosixPath(name) for name in names}
    with_tensors = {path.parent for path in paths if path.suffix == ".safetensors"}
    return {
        str(path)
        for path in paths
        if not any(part.startswith(".") for part in path.parts)
        and str(path) != MANIFEST
        and path.suffix not in _CODE | _FOREIGN
        and (path.suffix not in PICKLES or (path.name.startswith(_PICKLED_WEIGHTS) and path.parent not in with_tensors))
    }


def _copy_files(source: Path, names: Iterable[str], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _has_files(folder: Path, files: dict[str, dict[str, Any]]) -> bool:
    try:
        require_intact(folder)
    except CodedError:
        return False
    return read_manifest(folder) == files
