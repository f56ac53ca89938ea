"""Configuration, data and result file (`--json`) of the commands that train nothing: `evaluate` and `audit`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from embsweep.cli.composition.compose import config_loader, resolve_partially
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.cli.paths import default_storage
from embsweep.config import Config
from embsweep.config.root import check_measurable
from embsweep.core.codes import Code
from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.files import expand_home, is_disk_full_error
from embsweep.data.collection import Collection
from embsweep.sweep.checks.inputs import deduplicate, find_storage, parse_config, parse_data

_CODES: dict[type[OSError], Code] = {IsADirectoryError: "wrong-file-kind", FileNotFoundError: "missing-file"}


def read_inputs(
    overrides: Sequence[str],
    json_file: Path | None,
    validate: Callable[[Config, Sequence[Diagnostic]], Iterable[Diagnostic]],
    *,
    earlier: Iterable[Diagnostic] = (),
    may_sweep: bool = False,
) -> tuple[Config, Collection, list[str]]:
    """Compose and check the configuration, and load the data.

    Args:
        overrides: Overrides as for a sweep.
        json_file: File to be written at the end, if one is wanted.
        validate: Returns the command's own diagnostics for a valid configuration and the diagnostics so far.
        earlier: Diagnostics found before, which are reported too.
        may_sweep: Whether an override may sweep its key, which then has the recipe's value.

    Returns:
        Configuration, data, and the overrides that sweep their key.

    Raises:
        InputError: If anything is wrong, with all diagnostics.
    """
    diagnostics = [*earlier, *(() if json_file is None else validate_json_file(json_file))]
    with config_loader() as loader:
        line = parse_command_line(loader, overrides)
        diagnostics.extend(line.diagnostics)
        if not may_sweep:
            diagnostics.extend(
                Diagnostic("not-sweepable", o.get_key_element(), "cannot be swept here", o.input_line, "one value")
                for o in line.swept
            )
        try:
            values, unresolved = resolve_partially(line.tree)
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
    diagnostics.extend(unresolved)
    config, found = parse_config(values, diagnostics, check_measurable)
    diagnostics.extend(found)
    if config is not None:
        diagnostics.extend(validate(config, diagnostics))
    collection, found = parse_data(values, find_storage(values, default_storage()), is_valid=not diagnostics)
    diagnostics.extend(found)
    if config is None or collection is None or diagnostics:
        raise InputError(deduplicate(diagnostics))
    return config, collection, [str(override.input_line) for override in line.swept]


def validate_json_file(file: Path) -> list[Diagnostic]:
    """Return a diagnostic if the file cannot be written; a file that does not exist is created and removed again."""
    try:
        path = expand_home(file, "--json")
        is_new = not os.path.lexists(path)
        if is_new or path.is_file() or path.is_dir():
            path.open("ab").close()
        if is_new:
            path.unlink()
    except InputError as error:
        return list(error.diagnostics)
    except OSError as error:
        code, problem = _CODES.get(type(error), "not-writable"), f"cannot be written: {error.strerror}"
        return [Diagnostic(code, "--json", problem, str(file.absolute()), "a file in an existing folder")]
    return []


def write_json_file(file: Path, value: Any) -> None:
    """Write `value` as indented JSON.

    Raises:
        CodedError: If the file cannot be written (`not-writable`).
        OSError: If the disk is full.
    """
    try:
        expand_home(file).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        if is_disk_full_error(str(error)):
            raise
        raise CodedError("not-writable", f"{file}: cannot be written: {error.strerror}") from None
