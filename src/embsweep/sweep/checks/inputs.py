"""Check configuration, model, data and storage folder; also used by `embsweep audit` and `embsweep evaluate`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError

from embsweep.config import Config, build_config
from embsweep.config.data import DataConfig, DocstringsConfig
from embsweep.config.model import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.files import data_cache, expand_home
from embsweep.core.mappings import flatten
from embsweep.data.collection import Collection
from embsweep.data.sources.docstrings import find_packages
from embsweep.data.sources.load import load_collection
from embsweep.models.builders import check_model
from embsweep.sweep.folder import check_storage

_MISSING = "???"
P = ParamSpec("P")
T = TypeVar("T")


def find_missing(values: Mapping[str, Any]) -> list[Diagnostic]:
    """Return a diagnostic for every key that conf/ leaves to the user (`???`) and that has no value."""
    keys = [key for key, value in flatten(values) if value == _MISSING]
    several = {"data.pairs": " (several files: 'data.pairs=[a.jsonl,b.jsonl]')"}
    return [
        Diagnostic("missing-value", key, "must be given", hint=f"add {key}=…{several.get(key, '')}") for key in keys
    ]


def attempt(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, list[Diagnostic]]:
    """Call a function that raises InputError; return its result, or None and the diagnostics, so that checks go on."""
    try:
        return parse(*args, **kwargs), []
    except InputError as error:
        return None, list(error.diagnostics)


def parse_config(
    values: Mapping[str, Any], known: Iterable[Diagnostic], validate: Callable[[Config], Iterable[Diagnostic]]
) -> tuple[Config | None, list[Diagnostic]]:
    """Return the configuration, or None if it is invalid, and its diagnostics.

    Args:
        values: The composed configuration as plain values.
        known: What was found so far. A missing key that is already among them is not reported twice.
        validate: Returns the diagnostics that concern several parts of a valid configuration.
    """
    missing = find_missing(values)
    config, invalid = attempt(build_config, values)
    named, absent = ({diagnostic.location for diagnostic in found} for found in (known, missing))
    diagnostics = [diagnostic for diagnostic in missing if diagnostic.location not in named]
    diagnostics += [diagnostic for diagnostic in invalid if diagnostic.location not in absent]
    return config, [*diagnostics, *(validate(config) if config is not None else ())]


def validate_chosen_model(model: ModelConfig, known: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Check the model, unless its choice is already reported as wrong: then `model` is only the default."""
    return [] if any(diagnostic.location == "model" for diagnostic in known) else check_model(model)


def parse_data(
    values: Mapping[str, Any], storage: Path, *, is_valid: bool
) -> tuple[Collection | None, list[Diagnostic]]:
    """Load the data.

    The built-in docstrings take half a minute to collect. If something is invalid already, only the presence of their
    packages is checked.

    Args:
        values: The composed configuration as plain values.
        storage: The storage folder, which holds the data cache.
        is_valid: Whether no diagnostic was found so far.

    Returns:
        The data, or None if they are invalid or were not loaded, and their diagnostics.
    """
    data = values.get("data", {})
    if not isinstance(data, Mapping) or _MISSING in data.values():
        return None, []
    try:
        config: DataConfig = TypeAdapter(DataConfig).validate_python(data)
    except ValidationError:
        return None, []  # already reported with the configuration
    if not is_valid and isinstance(config, DocstringsConfig):
        return None, attempt(find_packages, config.packages)[1]
    return attempt(load_collection, config, data_cache(storage))


def find_storage(values: Mapping[str, Any], default: Path) -> Path:
    """Return the absolute path of the storage folder, which holds `sweeps/` and `mlflow.db`."""
    part = values.get("storage")
    path = part.get("path") if isinstance(part, Mapping) else None
    return expand_home(path, "storage.path").resolve() if isinstance(path, str) else default


def is_storage_shared(values: Mapping[str, Any]) -> bool:
    """Return `storage.shared`."""
    part = values.get("storage")
    return isinstance(part, Mapping) and part.get("shared") is True


def validate_storage(values: Mapping[str, Any], storage: Path) -> list[Diagnostic]:
    """Return a diagnostic if the storage folder is unsafe or cannot be created or written to; leave nothing behind."""
    existing = next(path for path in (storage / "sweeps", *(storage / "sweeps").parents) if path.exists())
    _, unsafe = (
        attempt(check_storage, storage, is_shared=is_storage_shared(values)) if existing.is_dir() else (None, [])
    )
    if unsafe:
        return unsafe
    try:
        tempfile.TemporaryDirectory(prefix=".embsweep-", dir=existing).cleanup()
    except OSError as error:
        return [
            Diagnostic(
                "not-writable",
                "storage.path",
                f"cannot be written to ({existing}: {error.strerror})",
                str(storage),
                "a writable folder",
            )
        ]
    return []


def deduplicate(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return each diagnostic once, in order; they are compared by text, because their values may not be hashable."""
    return list({str(diagnostic): diagnostic for diagnostic in diagnostics}.values())
