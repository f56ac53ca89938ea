"""Check the file of `--json` before its content is computed, and write it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from embsweep.core.errors import CodedError, Diagnostic
from embsweep.core.files import NO_USER, expand_home, is_disk_full_error, names_no_user


def check_json_file(file: Path) -> list[Diagnostic]:
    """Return a diagnostic if the file cannot be written; a file that does not exist is created and removed again."""
    if names_no_user(file):
        return [Diagnostic("unknown-user", "--json", NO_USER, str(file), "a file")]
    path = expand_home(file).absolute()
    try:
        if path.is_dir():
            return [Diagnostic("wrong-file-kind", "--json", "is a folder", str(path), "a file")]
        if not path.parent.is_dir():
            return [Diagnostic("missing-file", "--json", "no such folder", str(path.parent))]
        is_new = not os.path.lexists(path)
        if is_new or path.is_file():
            path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        return [Diagnostic("not-writable", "--json", f"cannot be written: {error.strerror}", str(path), "a file")]
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
