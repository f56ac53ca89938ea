"""Overlapping passages: windows of one document on two sides of the split, where the end of one starts the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from embsweep.audit.findings import MAX_EXAMPLES, Example, Finding
from embsweep.audit.split_view import Side
from embsweep.data.words import split_words

FEWEST_WORDS = 12
"""Fewest words that two windows share, in scripts without spaces characters: about two lines of text."""

SMALLEST_SHARE = 0.1
"""Smallest share of the shorter passage that two windows share."""

_LENGTH_OF_KEY = 8


def report_overlaps(sides: Sequence[Side]) -> Iterator[Finding]:
    """Yield a warning if the passage of a held-out query overlaps a passage of an earlier side.

    Args:
        sides: Sides of the split, training first.
    """
    texts = list(dict.fromkeys(text for side in sides for text in side.passages))
    side_of = {text: number for number, side in reversed(list(enumerate(sides))) for text in side.passages}
    overlaps: dict[str, str] = {}
    for one, other in find_overlaps(texts):
        early, late = sorted((texts[one], texts[other]), key=side_of.__getitem__)
        if side_of[early] < side_of[late]:
            overlaps.setdefault(late, early)
    counts = []
    for side in sides[1:]:
        count = sum(not overlaps.keys().isdisjoint(answers) for answers in side.answers.values())
        counts += [f"{side.name} {count:,} of {len(side.answers):,} ({count / len(side.answers):.1%})"] if count else []
    if counts:
        message = (
            f"held-out queries whose passage overlaps one on another side (the end of one starts the other): "
            f"{', '.join(counts)}"
        )
        examples: list[Example] = list(overlaps.items())
        yield Finding("overlapping-passages", "warning", message, tuple(examples[:MAX_EXAMPLES]))


def find_overlaps(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the positions of two texts where the second continues the first: it starts inside it and goes on after it.

    The shared words are at least `FEWEST_WORDS`, and `SMALLEST_SHARE` of the shorter text. The first word of the second
    text and the last one of the first are not compared: windows of characters cut them.
    """
    words = [split_words(text) for text in texts]
    starts: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for position, of_text in enumerate(words):
        if len(of_text) >= FEWEST_WORDS:
            starts[tuple(of_text[1 : 1 + _LENGTH_OF_KEY])].append(position)
    for position, of_text in enumerate(words):
        for offset in range(2, len(of_text) - FEWEST_WORDS + 2):
            for other in starts.get(tuple(of_text[offset : offset + _LENGTH_OF_KEY]), ()):
                if other != position and _continues(of_text[offset - 1 :], words[other], len(of_text)):
                    yield position, other


def _continues(end: Sequence[str], second: Sequence[str], length: int) -> bool:
    shared = min(len(end), len(second))
    is_long = shared >= max(FEWEST_WORDS, SMALLEST_SHARE * min(length, len(second)))
    return is_long and end[1 : shared - 1] == second[1 : shared - 1]
