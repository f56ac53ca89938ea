"""Files of a base model on this machine: in the embedded package, a local folder, or the Hugging Face cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embsweep.config.training import ModelConfig
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


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if it is not readable or holds none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
