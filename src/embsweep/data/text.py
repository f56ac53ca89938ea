"""What counts as a text, and how a text file is read: UTF-8, line by line, with every broken line named."""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from functools import cache
from pathlib import Path

from embsweep.core.codes import Code
from embsweep.data.issues import DiagnosticList

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MOST_MARKS = 100
"""Marks on one letter: no script has more than a few, and a normal form takes time by the square of their number."""

_REPLACEMENT = "\ufffd"
_TYPE_NAMES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def check_text(value: object, where: str, column: str, diagnostics: DiagnosticList) -> str | None:
    """The stripped text, or None after recording why `value` is none (type, blank, NUL, half a surrogate pair)."""
    found = _find_problem(value)
    if found is None:
        return str(value).strip()
    code, problem = found
    diagnostics.add(code, where, f"column '{column}' {problem}", value, expected="a text that is not blank")
    return None


def _find_problem(value: object) -> tuple[Code, str] | None:
    if value is None:
        return "missing-value", "is null"
    if not isinstance(value, str):
        return "wrong-type", f"is {_TYPE_NAMES.get(type(value), f'of type {type(value).__name__}')}, not text"
    if is_blank(value):
        return "empty", "is empty"
    bad = _find_bad_character(value)
    return ("bad-character", bad) if bad else None


def _find_bad_character(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "holds half of a surrogate pair, which is no character"
    if not text.isascii() and _marks_pattern().search(text):
        return f"holds more than {_MOST_MARKS} combining marks in a row"
    return None


@cache
def _marks_pattern() -> re.Pattern[str]:
    marks = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(c))
    return re.compile(f"[{marks}]{{{_MOST_MARKS + 1}}}")


def is_blank(text: str) -> bool:
    """Whether a text has nothing to read: only spaces, control, format (zero-width) and unassigned characters."""
    return all(unicodedata.category(character)[0] in "CZ" for character in text)


def normalise_text(text: str) -> str:
    """What two texts must share to count as one: NFKC, case folded, each run of white space one space.

    Case folding can undo NFKC, so that is applied after it again; the result of a result is itself.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def read_text_file(path: Path, diagnostics: DiagnosticList) -> str:
    """The file's text without byte-order mark; line ends stay as they are.

    Broken UTF-8 and NUL characters are recorded as faults, line by line, and replaced, so that the reader
    can go on and find what else is wrong. An unreadable or empty file gives an empty text and one fault.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        diagnostics.add("unreadable", path.name, f"cannot be read: {error.strerror or error}", str(path))
        return ""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is not None:
        diagnostics.add(
            "not-utf8", f"{path.name}:1", f"is encoded as {encoding}", expected="UTF-8", hint="save the file as UTF-8"
        )
        return ""
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        diagnostics.add("empty", path.name, "is empty")
        return ""
    return _decode(data, path.name, diagnostics)


def _decode(data: bytes, name: str, diagnostics: DiagnosticList) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\n".join(
            _decode_line(line, f"{name}:{number}", diagnostics) for number, line in enumerate(data.split(b"\n"), 1)
        )
    if "\0" in text:
        for number, line in enumerate(text.split("\n"), 1):
            if "\0" in line:
                diagnostics.add("bad-character", f"{name}:{number}", "holds a NUL character", expected="text in UTF-8")
    return text.replace("\0", _REPLACEMENT)


def _decode_line(line: bytes, where: str, diagnostics: DiagnosticList) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        broken = line[error.start : error.start + 1]
        diagnostics.add(
            "not-utf8", where, f"is not UTF-8 at byte {error.start + 1}", broken, hint="save the file as UTF-8"
        )
        return line.decode("utf-8", errors="replace")
