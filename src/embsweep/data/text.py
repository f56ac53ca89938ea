"""Validation and normalisation of texts."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

from embsweep.core.codes import Code
from embsweep.data.diagnostics import DiagnosticList

_MAX_MARKS = 100
"""Combining marks in a row. No script has more than a few, and the time to normalise grows with the square of them."""

_MAX_CHARS = 1_000_000
"""More than a hundred times what any model reads of a text; analysing one of 50 million takes minutes."""

_TYPE_NAMES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def parse_text(value: object, where: str, column: str, diagnostics: DiagnosticList) -> str | None:
    """Check that a value is a usable text.

    Args:
        value: Value of one cell.
        where: Location of the row (`my.jsonl:17`), for the diagnostic.
        column: Name of the column, for the diagnostic.
        diagnostics: Receives a diagnostic if the value is not a text, is blank, or has a NUL character, an unpaired
            surrogate, too many combining marks in a row or more than a million characters.

    Returns:
        The stripped text, or None if a diagnostic was recorded.
    """
    found = _find_problem(value)
    if found is None:
        return str(value).strip()
    code, problem = found
    expected = "a text that is not blank" if code != "too-many" else f"at most {_MAX_CHARS:,}: split it into passages"
    diagnostics.add(code, where, f"column '{column}' {problem}", value, expected=expected)
    return None


def _find_problem(value: object) -> tuple[Code, str] | None:
    if value is None:
        return "missing-value", "is null"
    if not isinstance(value, str):
        return "wrong-type", f"is {_TYPE_NAMES.get(type(value), f'of type {type(value).__name__}')}, not text"
    if len(value) > _MAX_CHARS:
        return "too-many", f"has {len(value):,} characters"
    if bad := find_bad_character(value):
        return "bad-character", bad
    return ("empty", "is empty") if is_blank(value) else None


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
