"""Escaping of control characters in third-party texts, for terminals and for messages of one line."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_control_characters(text: str, *, one_line: bool = False) -> str:
    r"""Return `text` with control characters, changes of direction and lone surrogates escaped.

    Args:
        text: A text that may contain names and messages of others.
        one_line: Escape everything that is not printable, so that a name cannot begin a line.

    >>> print(escape_control_characters("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    if one_line:
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)
