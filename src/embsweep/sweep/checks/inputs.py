"""Check configuration, model, data and storage folder; also used by `embsweep audit` and `embsweep evaluate`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from embsweep.config import Config, build_config
from embsweep.config.data import DataConfig, DocstringsConfig
from embsweep.config.training import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.files import data_cache, expand_home
from embsweep.data.collection import Collection
from embsweep.data.sources.docstrings import find_packages
from embsweep.data.sources.load import load_collection
from embsweep.models.builders import check_model
from embsweep.sweep.identity import flatten

_MISSING = "???"


def find_missing(values: Mapping[str, Any]) -> list[Diagnostic]:
    """Return a diagnostic for every key that conf/ leaves to the user (`???`) and that has no value."""
    keys = [key for key, value in flatten(values) if value == _MISSING]
    return [Diagnostic("missing-value", key, "must be given", hint=f"add {key}=…") for key in keys]


def checked_config(
    values: Mapping[str, Any], diagnostics: list[Diagnostic], check: Callable[[Config], Iterable[Diagnostic]]
) -> Config | None:
    """Return the configuration, or None if it is invalid; append its diagnostics to `diagnostics`.

    Args:
        values: The composed configuration as plain values.
        diagnostics: What was found so far. A missing key that is already among them is not reported twice.
        check: Returns the diagnostics that concern several parts of a valid configuration.
    """
    missing = find_missing(values)
    named = {diagnostic.location for diagnostic in diagnostics}
    diagnostics.extend(diagnostic for diagnostic in missing if diagnostic.location not in named)
    try:
        config = build_config(values)
    except InputError as error:
        diagnostics.extend(
            diagnostic
            for diagnostic in error.diagnostics
            if diagnostic.location not in {diagnostic.location for diagnostic in missing}
        )
        return None
    diagnostics.extend(check(config))
    return config


def check_chosen_model(model: ModelConfig, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Check the model, unless its choice is already reported as wrong: then `model` is only the default."""
    return [] if any(diagnostic.location == "model" for diagnostic in diagnostics) else check_model(model)


def checked_data(values: Mapping[str, Any], storage: Path, diagnostics: list[Diagnostic]) -> Collection | None:
    """Load the data; append diagnostics to `diagnostics`.

    The built-in docstrings take half a minute to collect. If there are diagnostics already, only the presence of their
    packages is checked.

    Args:
        values: The composed configuration as plain values.
        storage: The storage folder, which holds the data cache.
        diagnostics: What was found so far.

    Returns:
        The data, or None if they are invalid or were not loaded.
    """
    data = values.get("data", {})
    if not isinstance(data, Mapping) or _MISSING in data.values():
        return None
    try:
        config: DataConfig = TypeAdapter(DataConfig).validate_python(data)
        if diagnostics and isinstance(config, DocstringsConfig):
            find_packages(config.packages)
            return None
        return load_collection(config, data_cache(storage))
    except ValidationError:
        return None  # already reported with the configuration
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        return None


def find_storage(values: Mapping[str, Any], default: Path) -> Path:
    """Return the absolute path of the storage folder, which holds `sweeps/` and `mlflow.db`."""
    path = _given_storage(values)
    return default if path is None else expand_home(path, "storage.path").resolve()


def _given_storage(values: Mapping[str, Any]) -> str | None:
    part = values.get("storage")
    path = part.get("path") if isinstance(part, Mapping) else None
    return path if isinstance(path, str) else None


def check_storage(values: Mapping[str, Any], storage: Path) -> list[Diagnostic]:
    """Return a diagnostic if the storage folder cannot be created or written to; leave nothing behind."""
    existing = next(path for path in (storage / "sweeps", *(storage / "sweeps").parents) if path.exists())
    try:
        tempfile.TemporaryDirectory(prefix=".embsweep-", dir=existing).cleanup()
    except OSError as error:
        problem = f"cannot be written to ({existing}: {error.strerror})"
        return [Diagnostic("not-writable", "storage.path", problem, str(storage), "a writable folder")]
    return []


def deduplicate(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return each diagnostic once, in order; they are compared by text, because their values may not be hashable."""
    return list({str(diagnostic): diagnostic for diagnostic in diagnostics}.values())
