"""Check the file of `--json` before its content is computed, and write it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.files import expand_home, is_disk_full_error

_CODES: dict[type[OSError], Code] = {IsADirectoryError: "wrong-file-kind", FileNotFoundError: "missing-file"}


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
