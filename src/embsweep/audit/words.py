"""What counts as a word, in every script."""

from __future__ import annotations

import re

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f]|\w+")
"""Chinese characters and kana are words of their own: no space stands between the words of such a text."""

_SAYS_SOMETHING = re.compile(r"[^\W_]")


def split_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, and single Chinese characters and kana, in order."""
    return _WORD.findall(text)


def is_wordless(text: str) -> bool:
    """Whether a text has neither a letter nor a digit."""
    return _SAYS_SOMETHING.search(text) is None
