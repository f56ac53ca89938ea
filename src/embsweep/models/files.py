"""Files of a base model on this machine: in the embedded package, a local folder, or the Hugging Face cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embsweep.config.model import ModelConfig
from embsweep.models.embedded import locate_weights
from embsweep.models.hub import find_cached, find_folder


def find_file(cfg: ModelConfig, names: Iterable[str], folder: Path | None = None) -> Path | None:
    """Return the first of the model's files that exists; there is no request to the hub.

    Args:
        cfg: Configuration of the model.
        names: Paths relative to the model's folder.
        folder: Copy of the model's files; None finds them by `cfg`.
    """
    if folder is None and cfg.kind != "hub":
        weights = locate_weights()
        if weights is None:
            return None
        folder = weights.parent
    folder = folder or find_folder(cfg)
    found = [folder / name if folder else find_cached(cfg, name) for name in names]
    return next((path for path in found if path is not None and path.is_file()), None)


def read_modules(cfg: ModelConfig, folder: Path | None = None) -> list[dict[str, Any]] | None:
    """Return the entries of a model's `modules.json`, or None without one; arguments as in `find_file`."""
    path = find_file(cfg, ["modules.json"], folder)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def class_name(module: dict[str, Any]) -> str:
    """Return the name of the class of an entry of `modules.json`, without its package."""
    return str(module.get("type")).rpartition(".")[2]


def is_static(cfg: ModelConfig, folder: Path | None = None) -> bool:
    """Return whether a model has no transformer, but a table of token embeddings; arguments as in `find_file`."""
    first = next(iter(read_modules(cfg, folder) or ()), None) if cfg.kind == "hub" else None
    return cfg.kind == "static" or (first is not None and class_name(first) == "StaticEmbedding")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if it is not readable or holds none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
