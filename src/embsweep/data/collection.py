"""Data model of a judged collection (queries, passages, judgements) and of its splits.

`build_collection` merges pairs into a collection: equal texts become one query or one passage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.text import normalise_text


@dataclass(frozen=True)
class Pair:
    """One row of the user's data: a query, a relevant passage and, optionally, a hard negative.

    `place` is the row's location (`my.jsonl:17`), for messages.
    """

    anchor: str
    positive: str
    negative: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Judgement:
    """Relevance of a passage to a query, both by number, with the number of an optional hard negative."""

    query: int
    passage: int
    negative: int | None = None


@dataclass(frozen=True)
class Collection:
    """Distinct queries and distinct passages, numbered by position, and the judgements between them.

    `passages` has every passage of the source, hard negatives and unjudged ones too: it is the corpus. `merged` counts
    what was merged when the source was read (`duplicate passages`, `duplicate queries`, …).
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    merged: tuple[tuple[str, int], ...] = ()

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

    `relevant[i]` holds the positions in `corpus` of the passages relevant to `queries[i]`; never empty.
    """

    name: str
    queries: tuple[str, ...]
    corpus: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Splits:
    """Three-way split of a collection by passage group.

    Validation and test queries are answered from the same corpus: every distinct passage. `fingerprint` changes with
    any text and with the side of any query. `notes` are lines for the user: what was merged, capped or left out.
    """

    name: str
    fingerprint: str
    train: tuple[Pair, ...]
    validation: RetrievalSet
    test: RetrievalSet
    notes: tuple[str, ...] = ()


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


def build_collection(name: str, pairs: Sequence[Pair], extra_passages: Iterable[str] = ()) -> Collection:
    """Build a collection from pairs; merge texts that are equal after stripping or after `normalise_text`.

    Queries and passages are numbered by first appearance. A query that occurs with several passages has several
    relevant ones; a passage that occurs with several queries is one passage. Equal rows count once.

    Args:
        name: Name of the collection.
        pairs: Rows of the source. Their hard negatives become passages too.
        extra_passages: Further passages of the corpus, judged or not.

    Raises:
        InputError: If a hard negative is a relevant passage of the same query, only some rows have a hard negative, or
            there are no pairs.
    """
    diagnostics = DiagnosticList()
    queries, passages = TextIndex(), TextIndex()
    rows: dict[Judgement, str] = {}
    for pair in pairs:
        rows.setdefault(_judge(pair, queries, passages), pair.place)
    judged = Collection(name, tuple(queries.texts), tuple(passages.texts), tuple(rows))
    _validate_negatives(judged, rows, diagnostics)
    if not rows:
        diagnostics.add("no-rows", "data", "there are no pairs")
    diagnostics.raise_if_any()
    extra = list(extra_passages)
    for text in extra:
        passages.add(text)
    merged = (
        count_duplicates("queries", [pair.anchor for pair in pairs])
        + count_duplicates("passages", [pair.positive for pair in pairs])
        + count_duplicates("passages", extra)
        + Counter({"duplicate rows": len(pairs) - len(rows)})
    )
    return replace(judged, passages=tuple(passages.texts), merged=tuple(merged.items()))


def count_duplicates(what: str, texts: Sequence[str]) -> Counter[str]:
    """Count the `texts` that repeat an earlier one: equal after stripping, and equal only after `normalise_text`."""
    exact = dict.fromkeys(text.strip() for text in texts)
    normalised = len(set(map(normalise_text, exact)))
    return Counter(
        {f"duplicate {what}": len(texts) - len(exact), f"normalised duplicate {what}": len(exact) - normalised}
    )


def _judge(pair: Pair, queries: TextIndex, passages: TextIndex) -> Judgement:
    query, passage = queries.add(pair.anchor), passages.add(pair.positive)
    return Judgement(query, passage, None if pair.negative is None else passages.add(pair.negative))


def _validate_negatives(collection: Collection, rows: dict[Judgement, str], diagnostics: DiagnosticList) -> None:
    with_negative = sum(row.negative is not None for row in rows)
    for row, place in rows.items():
        where = place or "data"
        if row.negative is None and with_negative:
            diagnostics.add("missing-value", where, "has no negative", expected="a negative in every row or in none")
        if row.negative is not None and row.negative in collection.relevant[row.query]:
            diagnostics.add(
                "negative-is-relevant",
                where,
                "its negative is a relevant passage of the same query",
                collection.passages[row.negative],
                expected="a passage that does not answer the query",
            )
