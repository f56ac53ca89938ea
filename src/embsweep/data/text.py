"""Validation and normalisation of texts, and reading of UTF-8 text files with a diagnostic for each broken line."""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from functools import cache
from pathlib import Path

from embsweep.core.codes import Code
from embsweep.data.diagnostics import DiagnosticList

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16: UTF-16's mark is a prefix of this one
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MAX_MARKS = 100
"""Combining marks in a row. No script has more than a few, and the time to normalise grows with the square of them."""

_TYPE_NAMES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def parse_text(value: object, where: str, column: str, diagnostics: DiagnosticList) -> str | None:
    """Check that a value is a usable text.

    Args:
        value: Value of one cell.
        where: Location of the row (`my.jsonl:17`), for the diagnostic.
        column: Name of the column, for the diagnostic.
        diagnostics: Receives a diagnostic if the value is not a text, is blank, or has a NUL character, an unpaired
            surrogate or too many combining marks in a row.

    Returns:
        The stripped text, or None if a diagnostic was recorded.
    """
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
    bad = find_bad_character(value)
    return ("bad-character", bad) if bad else None


def find_bad_character(text: str) -> str | None:
    """Return what is wrong with a character of the text: NUL, unpaired surrogate, too many combining marks in a row."""
    if "\0" in text:
        return "holds a NUL character"
    if re.search("[\ud800-\udfff]", text):
        return "holds an unpaired surrogate, which is no character"
    if not text.isascii() and _marks_pattern().search(text):
        return f"holds more than {_MAX_MARKS} combining marks in a row"
    return None


@cache
def _marks_pattern() -> re.Pattern[str]:
    marks = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(c))
    return re.compile(f"[{marks}]{{{_MAX_MARKS + 1}}}")


def is_blank(text: str) -> bool:
    """Return whether a text has only white space, control, format (zero-width) and unassigned characters."""
    return all(unicodedata.category(character)[0] in "CZ" for character in text)


def normalise_text(text: str) -> str:
    """Normalise a text for comparison: NFKC, case folded, each run of white space replaced by one space.

    Two texts count as one if their normalised forms are equal. Case folding can undo NFKC, so NFKC is applied again
    after it; the function is idempotent.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def read_text_file(path: Path, diagnostics: DiagnosticList) -> str:
    """Read a UTF-8 text file, without its byte-order mark; line ends are kept unchanged.

    Invalid UTF-8 and NUL characters are recorded as diagnostics, line by line, and replaced, so that the caller can
    continue and find further errors. An unreadable or empty file, or one in another encoding, gives an empty text and
    one diagnostic.
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
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            broken, problem = line[error.start : error.start + 1], f"is not UTF-8 at byte {error.start + 1}"
            diagnostics.add("not-utf8", f"{name}:{number}", problem, broken, hint="save the file as UTF-8")
        if b"\0" in line:
            diagnostics.add("bad-character", f"{name}:{number}", "holds a NUL character", expected="text in UTF-8")
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")
