"""Escaping of names and texts of others in Markdown."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#&~$])")
_SPACES = re.compile(r"\s+")


def escape_markdown(value: object) -> str:
    r"""Return a value in one line in which nothing is parsed as Markdown or HTML.

    >>> print(escape_markdown("a <b>\n[c](d)"))
    a \<b\> \[c\](d)
    """
    return _MARKUP.sub(r"\\\1", _SPACES.sub(" ", str(value)))


def code_span(value: object) -> str:
    """Return a value as a code span of one line; a backtick, which would end it, becomes a quote.

    >>> print(code_span("a `b`"))
    `a 'b'`
    """
    return f"`{' '.join(str(value).replace('`', chr(39)).split())}`"
