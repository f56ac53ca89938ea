"""Duplicates: texts that were merged, near-duplicates, and texts on two sides of the split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

from embsweep.audit.findings import MAX_EXAMPLES, Finding, Severity
from embsweep.audit.near_duplicates import PASSAGES, QUERIES, NearDuplicate, find_near
from embsweep.audit.split_view import Side, SplitView
from embsweep.data.text import normalise_text

LEAK_IS_ERROR: Mapping[str, float] = MappingProxyType({"queries": 0.2, "passages": 0.1})
"""Share of a held-out side's queries from which a leak is an error.

A passage seen in training is the answer itself; a similar question may still have another meaning.
"""


def report_merged(merged: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a note for each kind of duplicate that was merged while the whole source was loaded."""
    for what in ("queries", "passages"):
        exact, normalised = merged.get(f"duplicate {what}", 0), merged.get(f"normalised duplicate {what}", 0)
        if exact:
            yield Finding(f"exact-duplicate-{what}", "note", f"{exact:,} repeated {what} were merged")
        if normalised:
            message = f"{normalised:,} {what} that differ in case, Unicode form or white space only were merged"
            yield Finding(f"normalised-duplicate-{what}", "note", message)


def report_left_out(merged: Mapping[str, int], notes: Sequence[str]) -> Iterator[Finding]:
    """Yield one note with the `notes` of the split, except those about duplicates, which have their own findings."""
    duplicates = {f"{kind}duplicate {what}" for kind in ("", "normalised ") for what in ("queries", "passages")}
    reported = {f"{what}: {count:,}" for what, count in merged.items() if what in duplicates}
    left = [note for note in notes if note not in reported]
    if left:
        yield Finding("rows-left-out", "note", "; ".join(left))


def check_sides(data: SplitView) -> Iterator[Finding]:
    """Yield an error for texts on two sides, including hard negatives of training that answer a held-out query."""
    sides = [(side.name, side.queries, side.passages) for side in data.sides]
    negatives = tuple(dict.fromkeys(pair.negative for pair in data.train if pair.negative is not None))
    yield from _check_shared("query", [(name, queries) for name, queries, _ in sides])
    held_out = [(name, passages) for name, _, passages in sides[1:]]
    trained = (sides[0][0], tuple(dict.fromkeys([*sides[0][2], *negatives])))
    yield from _check_shared("passage", [trained, *held_out])


def _check_shared(what: str, sides: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Finding]:
    by_text = [{normalise_text(text): text for text in texts} for _, texts in sides]
    counts: list[str] = []
    examples: list[tuple[str, ...]] = []
    for (one, ours), (two, theirs) in combinations(zip((name for name, _ in sides), by_text, strict=True), 2):
        shared = [text for normal, text in ours.items() if normal in theirs]
        if shared:
            counts.append(f"{len(shared):,} of {one} and {two}")
            examples += [(text,) for text in shared]
    if counts:
        plural = "queries" if what == "query" else "passages"
        message = f"{plural} on two sides of the split: {', '.join(counts)}"
        yield Finding(f"{what}-on-two-sides", "error", message, tuple(examples[:MAX_EXAMPLES]))


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


def find_near_queries(data: SplitView, threshold: float) -> NearDuplicateTexts:
    """Find near-duplicates among the distinct queries of all sides."""
    return _find(data.queries, [(side.name, side.queries) for side in data.sides], threshold, is_query=True)


def find_near_passages(data: SplitView, threshold: float) -> NearDuplicateTexts:
    """Find near-duplicates in the whole corpus; only passages relevant to a query have a side."""
    return _find(data.corpus, [(side.name, side.passages) for side in data.sides], threshold, is_query=False)


def _find(
    texts: tuple[str, ...], sides: Sequence[tuple[str, Sequence[str]]], threshold: float, *, is_query: bool
) -> NearDuplicateTexts:
    side_of = {text: number for number, (_, held) in enumerate(sides) for text in held}
    labels = [side_of.get(text, -1) for text in texts]
    found = find_near(texts, labels, QUERIES if is_query else PASSAGES, threshold)
    leaks: dict[str, dict[str, str]] = {name: {} for name, _ in sides[1:]}
    for near in found.pairs:
        for text, other in ((near.text, near.other), (near.other, near.text)):
            if 0 <= labels[other] < labels[text]:  # validation leaks from training, test from both
                leaks[sides[labels[text]][0]].setdefault(texts[text], texts[other])
    having = {position for near in found.pairs for position in (near.text, near.other)}
    best = tuple(near for near in found.pairs if near.text < near.other)
    return NearDuplicateTexts(texts, len(having), best, found.is_complete, leaks)


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
    shares: list[tuple[float, str, int, int]] = []
    examples: list[tuple[str, str]] = []
    for side in sides[1:]:
        leaked = near.leaks[side.name]
        touched = [q for q, passages in side.answers.items() if q in leaked or any(p in leaked for p in passages)]
        if touched:
            shares.append((len(touched) / len(side.answers), side.name, len(touched), len(side.answers)))
            examples += leaked.items()
    if not shares:
        return
    counts = ", ".join(f"{name} {count:,} of {total:,} ({share:.1%})" for share, name, count, total in shares)
    subject = "held-out queries" if what == "queries" else "held-out queries whose passage"
    message = f"{subject} {'has' if what == 'passages' else 'with'} a near-duplicate on another side: {counts}"
    severity: Severity = "error" if max(shares)[0] >= LEAK_IS_ERROR[what] else "warning"
    yield Finding(f"leaked-{what}", severity, message, tuple(examples[:MAX_EXAMPLES]))
