"""Overlapping passages: windows of one document, of which one answers a held-out query and one was trained on.

Near-duplicates do not show them: windows that share a fifth of their words have a similarity of about a tenth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsweep.audit.findings import MAX_EXAMPLES, Finding
from embsweep.audit.split_view import SplitView
from embsweep.data.text import normalise_text
from embsweep.data.words import split_words

RUN = 8
"""Words of a run. Eight equal words in a row are no chance."""

OVERLAP_IS_WARNING = 0.02
"""Share of a held-out side's queries from which overlaps are a warning; below, they are quotations."""

_MOST_OWNERS = 8
"""A run in more passages than this is a phrase of the domain or a form, not an overlap."""

_FACTOR = np.uint64(1_099_511_628_211)  # of the FNV hash: odd, so that every word of a run counts


@dataclass(frozen=True)
class Overlaps:
    """Queries of each held-out side whose passage overlaps one of an earlier side, and all its queries, by its name.

    `examples` are pairs of such passages.
    """

    queries: dict[str, int]
    totals: dict[str, int]
    examples: tuple[tuple[str, str], ...]


def find_overlaps(data: SplitView) -> Overlaps:
    """Find relevant passages that overlap a relevant passage of an earlier side.

    Two passages overlap if the end of one is the beginning of the other, by at least `RUN` words.
    """
    side_of: dict[str, int] = {}
    for number, side in enumerate(data.sides):
        for text in side.passages:
            side_of.setdefault(text, number)
    texts, sides = list(side_of), np.array(list(side_of.values()))
    runs = _hash_runs(texts)
    leaked: dict[int, int] = {}
    for first, second in _list_windows(runs):
        later, earlier = (first, second) if sides[first] > sides[second] else (second, first)
        if sides[later] != sides[earlier]:
            leaked.setdefault(later, earlier)
    overlapping = {texts[later] for later in leaked}
    queries, totals = {}, {}
    for side in data.sides[1:]:
        queries[side.name] = sum(not overlapping.isdisjoint(answers) for answers in side.answers.values())
        totals[side.name] = len(side.answers)
    examples = tuple((texts[later], texts[earlier]) for later, earlier in sorted(leaked.items())[:MAX_EXAMPLES])
    return Overlaps(queries, totals, examples)


def report_overlaps(found: Overlaps) -> Iterator[Finding]:
    """Yield a note if held-out queries have a passage that overlaps one of an earlier side, a warning if many have."""
    counts = [
        f"{side} {count:,} of {found.totals[side]:,} ({count / found.totals[side]:.1%})"
        for side, count in found.queries.items()
        if count
    ]
    if counts:
        message = (
            "held-out queries whose passage overlaps one of another side, like windows of the same document: "
            + ", ".join(counts)
        )
        largest = max(count / found.totals[side] for side, count in found.queries.items())
        yield Finding(
            "overlapping-passages", "warning" if largest >= OVERLAP_IS_WARNING else "note", message, found.examples
        )


def _hash_runs(texts: Sequence[str]) -> list[NDArray[np.uint64]]:
    """Return the hash of every run of words of each text, in order."""
    numbers: dict[str, int] = {}
    hashed = []
    for text in texts:
        words = [numbers.setdefault(word, len(numbers) + 1) for word in split_words(normalise_text(text))]
        ids = np.array(words, dtype=np.uint64)
        total = np.zeros(max(0, len(ids) - RUN + 1), dtype=np.uint64)
        for offset in range(RUN):
            total = total * _FACTOR + ids[offset : offset + len(total)]
        hashed.append(total)
    return hashed


def _list_windows(runs: Sequence[NDArray[np.uint64]]) -> Iterator[tuple[int, int]]:
    """Yield (first, second) for every two passages of which the end of the first is the beginning of the second.

    One word may differ at either edge, which is cut there.
    """
    values = np.concatenate([np.array([], dtype=np.uint64), *runs])
    owners = np.repeat(np.arange(len(runs)), [len(own) for own in runs])
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    for second, own in enumerate(runs):
        for begin in own[:2]:
            start, end = np.searchsorted(values, begin, "left"), np.searchsorted(values, begin, "right")
            for first in np.unique(owners[start:end]) if 1 < end - start <= _MOST_OWNERS else ():
                if first != second and begin in runs[first][2:] and np.isin(runs[first][-2:], own[:-2]).any():
                    yield int(first), second
