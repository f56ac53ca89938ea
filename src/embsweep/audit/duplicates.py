"""Duplicates: texts that were merged, near-duplicates, and texts on two sides of the split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

from embsweep.audit.findings import MAX_EXAMPLES, Example, Finding, Severity
from embsweep.audit.near_duplicates import PASSAGES, QUERIES, NearDuplicate, find_near
from embsweep.audit.split_view import Side, SplitView
from embsweep.data.text import normalise_text

LEAK_IS_ERROR: Mapping[str, float] = MappingProxyType({"queries": 0.2, "passages": 0.1})
"""Share of a held-out side's queries from which a leak is an error.

A passage seen in training is the answer itself; a similar question may still have another meaning.
"""

_MERGERS = {
    "duplicate queries": ("exact-duplicate-queries", "repeated queries"),
    "normalised duplicate queries": (
        "normalised-duplicate-queries",
        "queries that differ in case, Unicode form or white space only",
    ),
    "duplicate passages": ("exact-duplicate-passages", "repeated passages"),
    "normalised duplicate passages": (
        "normalised-duplicate-passages",
        "passages that differ in case, Unicode form or white space only",
    ),
}
"""Kind of merged duplicates, as in `Collection.merged` → name of its finding, and its message after the count."""


def report_merged(merged: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a note for each kind of duplicate that was merged while the whole source was loaded."""
    for merger, (name, message) in _MERGERS.items():
        if merged.get(merger):
            yield Finding(name, "note", f"{merged[merger]:,} {message} were merged")


def report_left_out(merged: Mapping[str, int], notes: Sequence[str]) -> Iterator[Finding]:
    """Yield one note with the `notes` of the split, except those about duplicates, which have their own findings."""
    reported = {f"{what}: {count:,}" for what, count in merged.items() if what in _MERGERS}
    left = [note for note in notes if note not in reported]
    if left:
        yield Finding("rows-left-out", "note", "; ".join(left))


def report_shared(data: SplitView) -> Iterator[Finding]:
    """Yield an error for texts on two sides, including hard negatives of training that answer a held-out query.

    For passages it is a warning if the source fixes the split: published sets judge one corpus in several parts.
    """
    negatives = [text for pair in data.train for text in pair.negatives]
    passages = [side.passages for side in data.sides]
    contents = [[*passages[0], *negatives], *passages[1:]]
    yield from _report_shared("query", "queries", data.sides, [side.queries for side in data.sides])
    yield from _report_shared(
        "passage", "passages", data.sides, contents, severity="warning" if data.is_fixed else "error"
    )


def _report_shared(
    what: str,
    plural: str,
    sides: Sequence[Side],
    contents: Sequence[Sequence[str]],
    *,
    severity: Severity = "error",
) -> Iterator[Finding]:
    by_text = [{normalise_text(text): text for text in texts} for texts in contents]
    counts: list[str] = []
    examples: list[Example] = []
    for one, two in combinations(range(len(sides)), 2):
        shared = [(text,) for normal, text in by_text[one].items() if normal in by_text[two]]
        examples += shared
        counts += [f"{len(shared):,} of {sides[one].name} and {sides[two].name}"] if shared else []
    if counts:
        yield Finding(
            f"{what}-on-two-sides",
            severity,
            f"{plural} on two sides of the split: {', '.join(counts)}",
            tuple(examples[:MAX_EXAMPLES]),
        )


@dataclass(frozen=True)
class NearDuplicateTexts:
    """Near-duplicates among queries or passages.

    `having` is the number of texts with a near-duplicate, `best` the pairs, the most similar first; `is_complete` is
    False if there were too many candidates to check. `leaks` maps the name of a held-out side to its leaked texts, each
    with its near-duplicate on an earlier side.
    """

    texts: tuple[str, ...]
    having: int
    best: tuple[NearDuplicate, ...]
    is_complete: bool
    leaks: Mapping[str, Mapping[str, str]]


def find_near_texts(data: SplitView, what: str, threshold: float) -> NearDuplicateTexts:
    """Find near-duplicates.

    Args:
        data: Sides of the split.
        what: `queries` (the distinct ones of all sides) or `passages` (the whole corpus; only passages relevant to a
            query have a side).
        threshold: Similarity from which texts are near-duplicates.
    """
    is_query = what == "queries"
    texts = data.queries if is_query else data.corpus
    names = [side.name for side in data.sides]
    held = [side.queries if is_query else side.passages for side in data.sides]
    side_of = {text: number for number, texts in enumerate(held) for text in texts}
    labels = [side_of.get(text, -1) for text in texts]
    pairs, is_complete = find_near(texts, labels, QUERIES if is_query else PASSAGES, threshold)
    leaks: dict[str, dict[str, str]] = {name: {} for name in names[1:]}
    for near in pairs:
        for text, other in ((near.text, near.other), (near.other, near.text)):
            if 0 <= labels[other] < labels[text]:  # validation leaks from training, test from both
                leaks[names[labels[text]]].setdefault(texts[text], texts[other])
    having = {position for near in pairs for position in (near.text, near.other)}
    best = tuple(near for near in pairs if near.text < near.other)
    return NearDuplicateTexts(texts, len(having), best, is_complete, leaks)


def report_near(what: str, near: NearDuplicateTexts, threshold: float) -> Iterator[Finding]:
    """Yield a note if texts have a near-duplicate.

    Args:
        what: `queries` or `passages`.
        near: Near-duplicates that were found.
        threshold: Similarity from which texts are near-duplicates.
    """
    if near.having:
        having = f"{'' if near.is_complete else 'at least '}{near.having:,} of {len(near.texts):,} {what}"
        message = f"{having} have a near-duplicate (similarity of their words from {threshold:g})"
        examples = [(near.texts[n.text], near.texts[n.other]) for n in near.best]
        yield Finding(f"near-duplicate-{what}", "note", message, tuple(examples[:MAX_EXAMPLES]))


def report_leaks(what: str, near: NearDuplicateTexts, sides: Sequence[Side]) -> Iterator[Finding]:
    """Yield a warning if held-out texts have a near-duplicate on an earlier side, an error from `LEAK_IS_ERROR`.

    Args:
        what: `queries` or `passages`. A leaked passage counts as the queries that it answers.
        near: Near-duplicates that were found.
        sides: Sides of the split, training first.
    """
    counts: list[str] = []
    largest = 0.0
    for side in sides[1:]:
        leaked = near.leaks[side.name]
        count = sum(query in leaked or not leaked.keys().isdisjoint(texts) for query, texts in side.answers.items())
        share = count / len(side.answers)
        largest = max(largest, share)
        counts += [f"{side.name} {count:,} of {len(side.answers):,} ({share:.1%})"] if count else []
    if counts:
        examples = [example for side in sides[1:] for example in near.leaks[side.name].items()]
        subject = "held-out queries with" if what == "queries" else "held-out queries whose passage has"
        message = f"{subject} a near-duplicate on another side: {', '.join(counts)}"
        severity: Severity = "error" if largest >= LEAK_IS_ERROR[what] else "warning"
        yield Finding(f"leaked-{what}", severity, message, tuple(examples[:MAX_EXAMPLES]))
