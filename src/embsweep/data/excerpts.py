"""Excerpts of texts: one line without control characters, cut between two visible characters."""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
_JOINER = "\u200d"
_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")
_READ = 10
"""Characters of a text that are read for each one of its excerpt; the rest of a run of white space is not."""

_LONGEST_CHARACTER = 20
"""Code points of one visible character at most, such as an emoji of a family; a longer one is divided."""


def cut_text(text: str, limit: int) -> str:
    """Return the beginning of a text in one line: at most `limit` code points, and an ellipsis if it is cut.

    Each run of white space becomes one space, control characters and unpaired surrogates are left out. Marks and joined
    emoji stay with the character that they belong to. Marks of direction are kept.
    """
    line = " ".join(_UNPRINTABLE.sub("", " ".join(text[: limit * _READ].split())).split())
    if len(line) <= limit and len(text) <= limit * _READ:
        return line
    return line[: _find_boundary(line, limit)].rstrip() + ELLIPSIS


def _find_boundary(text: str, limit: int) -> int:
    """Return the largest position up to `limit` at which no visible character is divided."""
    for end in range(limit, max(0, limit - _LONGEST_CHARACTER), -1):
        if end >= len(text) or not _is_joined(text[end - 1], text[end]):
            return end
    return limit


def _is_joined(before: str, after: str) -> bool:
    """Return whether two code points are parts of one visible character, for marks, emoji and flags."""
    extends = unicodedata.category(after) in ("Mn", "Me", "Mc") or after == _JOINER or _in(after, _SKIN_TONES)
    return extends or before == _JOINER or (_in(before, _FLAG_LETTERS) and _in(after, _FLAG_LETTERS))


def _in(character: str, limits: tuple[str, str]) -> bool:
    return limits[0] <= character <= limits[1]
