"""Data model of a judged collection (queries, passages, judgements) and of its splits.

`build_collection` merges pairs into a collection: equal texts become one query or one passage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from embsweep.core.names import NO_SLICE
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.slices import choose_slices
from embsweep.data.text import normalise_text

VALIDATION, TEST = "validation", "test"
"""Sides of a split that a source may fix, instead of leaving them to `data.split`."""


@dataclass(frozen=True)
class Pair:
    """One row of the user's data: a query, a relevant passage and its hard negatives, if there are any.

    `place` is the row's location (`my.jsonl:17`), for messages. `group` is what the row belongs to, a document for
    example; rows of one group stay on one side of the split. `side` is `VALIDATION` or `TEST` if the source fixes the
    row's side. `slice` is the label of the row's `data.slice`, None without that key.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    place: str = ""
    group: str | None = None
    side: str | None = None
    slice: str | None = None


@dataclass(frozen=True)
class Judgement:
    """Relevance of a passage to a query, both by number, with the numbers of its hard negatives."""

    query: int
    passage: int
    negatives: tuple[int, ...] = ()


@dataclass(frozen=True)
class Collection:
    """Distinct queries and distinct passages, numbered by position, and the judgements between them.

    `passages` has every passage of the source, hard negatives and unjudged ones too: it is the corpus. `merged` counts
    what was merged or left out when the source was read (`duplicate passages`, `duplicate queries`, …); `reading` has
    lines for the user about how it was read, which may name files and columns. `sides` maps a query to its side if the
    source fixes it. `groups` holds the numbers of each query's groups (`Pair.group`), as `relevant` does of its
    passages; empty without groups. `slices` holds the label of each query; empty without `data.slice`.
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    merged: tuple[tuple[str, int], ...] = ()
    reading: tuple[str, ...] = ()
    sides: Mapping[int, str] = field(default_factory=dict)
    groups: tuple[tuple[int, ...], ...] = ()
    slices: tuple[str, ...] = ()

    @cached_property
    def relevant(self) -> tuple[tuple[int, ...], ...]:
        """Sorted numbers of the relevant passages of each query."""
        found: list[set[int]] = [set() for _ in self.queries]
        for judgement in self.judgements:
            found[judgement.query].add(judgement.passage)
        return tuple(tuple(sorted(passages)) for passages in found)


@dataclass(frozen=True)
class RetrievalSet:
    """Input of a retrieval evaluation: queries, the corpus they are answered from, and the relevant passages.

    `relevant[i]` holds the positions in `corpus` of the passages relevant to `queries[i]`; never empty. `slices[i]` is
    the label of that query; there are none without `data.slice`.
    """

    name: str
    queries: tuple[str, ...]
    corpus: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]
    slices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Splits:
    """Three-way split of a collection by passage group.

    Validation and test queries are answered from the same corpus: every distinct passage. `fingerprint` changes with
    any text and with the side of any query. `notes` are lines for the user: what was merged, capped or left out; they
    are published with the model. `reading` is that of the collection. `fixed` names the sides that the source fixes:
    such a split may share passages. Every training pair has the same number of hard negatives.
    """

    name: str
    fingerprint: str
    train: tuple[Pair, ...]
    validation: RetrievalSet
    test: RetrievalSet
    notes: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


class TextIndex:
    """Distinct texts, numbered by first appearance; texts that `normalise_text` makes equal share a number.

    Of such texts the first in code-point order represents all, so the result does not depend on the order of rows.
    `texts` are the representatives, ordered by number.
    """

    def __init__(self) -> None:
        self._by_text: dict[str, int] = {}
        self._by_normalised: dict[str, int] = {}
        self.texts: list[str] = []

    def add(self, text: str) -> int:
        """Return the number of a text: a new one if neither it nor a text of equal normal form was added before."""
        stripped = text.strip()
        if stripped not in self._by_text:
            number = self._by_normalised.setdefault(normalise_text(stripped), len(self.texts))
            if number == len(self.texts):
                self.texts.append(stripped)
            self.texts[number] = min(self.texts[number], stripped)
            self._by_text[stripped] = number
        return self._by_text[stripped]


def build_collection(
    name: str, pairs: Sequence[Pair], extra_passages: Iterable[str] = (), reading: Sequence[str] = ()
) -> Collection:
    """Build a collection from pairs; merge texts that are equal after stripping or after `normalise_text`.

    Queries and passages are numbered by first appearance. A query that occurs with several passages has several
    relevant ones; a passage that occurs with several queries is one passage. Equal rows count once. A query on several
    sides is on the last of training, validation, test. If a row has several hard negatives, those that answer its query
    are left out.

    Args:
        name: Name of the collection.
        pairs: Rows of the source. Their hard negatives become passages too.
        extra_passages: Further passages of the corpus, judged or not.
        reading: Lines about how the source was read.

    Raises:
        InputError: If the only hard negative of a row is a relevant passage of the same query, there are no pairs, or
            none of them has a value of `data.slice`.
    """
    diagnostics = DiagnosticList()
    queries, passages = TextIndex(), TextIndex()
    rows: dict[Judgement, str] = {}
    for pair in pairs:
        rows.setdefault(_judge(pair, queries, passages), pair.place)
    judged = Collection(name, tuple(queries.texts), tuple(passages.texts), tuple(rows))
    kept, wrong = _select_negatives(judged, rows, diagnostics)
    if not rows:
        diagnostics.add("no-rows", "data", "there are no pairs")
    slices, notes = _find_slices(pairs, queries, diagnostics)
    diagnostics.raise_if_any()
    extra = list(extra_passages)
    for text in extra:
        passages.add(text)
    merged = (
        count_duplicates("queries", _list_anchors(pairs))
        + count_duplicates("passages", [pair.positive for pair in pairs])
        + count_duplicates("passages", extra)
        + Counter(
            {
                "duplicate rows": len(pairs) - len(rows),
                "hard negatives left out because they answer their own query": wrong,
                "queries on two sides, kept on the held-out one only": _count_on_two_sides(pairs, queries),
            }
        )
    )
    return replace(
        judged,
        passages=tuple(passages.texts),
        judgements=kept,
        merged=tuple(merged.items()),
        reading=(*reading, *notes),
        sides=_find_sides(pairs, queries),
        groups=_find_groups(pairs, queries),
        slices=slices,
    )


def name_negatives(count: int) -> list[str]:
    """Return the column names of `count` hard negatives of a row, as sentence-transformers has them."""
    return ["negative"] if count == 1 else [f"negative_{number}" for number in range(1, count + 1)]


def count_duplicates(what: str, texts: Sequence[str]) -> Counter[str]:
    """Count the `texts` that repeat an earlier one: equal after stripping, and equal only after `normalise_text`."""
    exact = dict.fromkeys(text.strip() for text in texts)
    normalised = len(set(map(normalise_text, exact)))
    return Counter(
        {f"duplicate {what}": len(texts) - len(exact), f"normalised duplicate {what}": len(exact) - normalised}
    )


def _list_anchors(pairs: Sequence[Pair]) -> list[str]:
    """Return the query of each row; pairs of one place are those of one row, which has several positives."""
    rows = {(pair.place or str(number), pair.anchor): None for number, pair in enumerate(pairs)}
    return [anchor for _, anchor in rows]


def _judge(pair: Pair, queries: TextIndex, passages: TextIndex) -> Judgement:
    query, passage = queries.add(pair.anchor), passages.add(pair.positive)
    return Judgement(query, passage, tuple(dict.fromkeys(map(passages.add, pair.negatives))))


def _select_negatives(
    collection: Collection, rows: dict[Judgement, str], diagnostics: DiagnosticList
) -> tuple[tuple[Judgement, ...], int]:
    """Return the rows without the negatives that answer their query, and the number of these."""
    kept, wrong = [], 0
    for row, place in rows.items():
        relevant = collection.relevant[row.query]
        fitting = tuple(passage for passage in row.negatives if passage not in relevant)
        if row.negatives and not fitting and len(row.negatives) == 1:
            diagnostics.add(
                "negative-is-relevant",
                place or "data",
                "its negative is a relevant passage of the same query",
                collection.passages[row.negatives[0]],
                expected="a passage that does not answer the query",
            )
        wrong += len(row.negatives) - len(fitting)
        kept.append(replace(row, negatives=fitting))
    return tuple(dict.fromkeys(kept)), wrong


def _find_sides(pairs: Sequence[Pair], queries: TextIndex) -> dict[int, str]:
    sides: dict[int, str] = {}
    for side in (VALIDATION, TEST):
        sides |= {queries.add(pair.anchor): side for pair in pairs if pair.side == side}
    return sides


def _count_on_two_sides(pairs: Sequence[Pair], queries: TextIndex) -> int:
    if all(pair.side is None for pair in pairs):
        return 0
    return sum(count > 1 for count in Counter(q for q, _ in {(queries.add(p.anchor), p.side) for p in pairs}).values())


def _find_groups(pairs: Sequence[Pair], queries: TextIndex) -> tuple[tuple[int, ...], ...]:
    if all(pair.group is None for pair in pairs):
        return ()
    numbers: dict[str, int] = {}
    found: list[set[int]] = [set() for _ in queries.texts]
    for pair in pairs:
        if pair.group is not None:
            found[queries.add(pair.anchor)].add(numbers.setdefault(pair.group, len(numbers)))
    return tuple(tuple(sorted(groups)) for groups in found)


def _find_slices(
    pairs: Sequence[Pair], queries: TextIndex, diagnostics: DiagnosticList
) -> tuple[tuple[str, ...], list[str]]:
    """Return the slice of each query, and lines about it; nothing without `data.slice`."""
    if all(pair.slice is None for pair in pairs):
        return (), []
    rows = ((queries.add(pair.anchor), pair.slice or NO_SLICE) for pair in pairs)
    labels, notes = choose_slices(rows, len(queries.texts))
    if set(labels) == {NO_SLICE}:
        problem, expected = "has no value in any row", "a column with values, or null"
        diagnostics.add("no-effect", "data.slice", problem, expected=expected)
    return labels, notes
