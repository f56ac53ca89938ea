"""Escaping of control characters in third-party texts before they are written to a terminal."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape_control_characters(text: str) -> str:
    r"""Return `text` with control characters and changes of direction escaped; tabs and line ends stay.

    >>> print(escape_control_characters("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)
