"""The data as values: a collection of queries, passages and judgements, and its splits.

From pairs to one judged collection: equal texts become one query or one passage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from embsweep.data.issues import DiagnosticList
from embsweep.data.text import normalise_text


@dataclass(frozen=True)
class Pair:
    """One row of the user's data: a query text, a passage that answers it, perhaps one that does not.

    `place` says where the row stands (`my.jsonl:17`), for messages.
    """

    anchor: str
    positive: str
    negative: str | None = None
    place: str = ""


@dataclass(frozen=True)
class Judgement:
    """Query number → relevant passage number, with an optional hard-negative passage number."""

    query: int
    passage: int
    negative: int | None = None


@dataclass(frozen=True)
class Collection:
    """Distinct queries and distinct passages, numbered by position, and the judgements between them.

    Every passage of the source is in `passages`, hard negatives and unjudged ones too: they are the corpus.
    `merged` counts what was unified on the way in (`duplicate passages`, `duplicate queries`, …).
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    merged: tuple[tuple[str, int], ...] = ()

    @cached_property
    def relevant(self) -> tuple[tuple[int, ...], ...]:
        """For each query the sorted numbers of all its relevant passages."""
        found: list[set[int]] = [set() for _ in self.queries]
        for judgement in self.judgements:
            found[judgement.query].add(judgement.passage)
        return tuple(tuple(sorted(passages)) for passages in found)


@dataclass(frozen=True)
class RetrievalSet:
    """Queries to be answered from a corpus: what an evaluation measures.

    `relevant[i]` holds the positions in `corpus` of the passages relevant to `queries[i]`; never empty.
    """

    name: str
    queries: tuple[str, ...]
    corpus: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Splits:
    """A collection cut three ways by passage group; `fingerprint` changes when any text or side does.

    Validation and test queries are answered from the same corpus: every distinct passage.
    """

    name: str
    fingerprint: str
    train: tuple[Pair, ...]
    validation: RetrievalSet
    test: RetrievalSet
    notes: tuple[str, ...] = ()


class TextIndex:
    """Distinct texts, numbered by first appearance; texts that `normalise_text` makes equal share a number.

    Of such texts the first in code-point order stands for all, so that the order of rows decides nothing.
    """

    def __init__(self) -> None:
        self._by_text: dict[str, int] = {}
        self._by_meaning: dict[str, int] = {}
        self._texts: list[str] = []

    def add(self, text: str) -> int:
        """The text's number, a new one where neither it nor its like was seen before."""
        stripped = text.strip()
        known = self._by_text.get(stripped)
        return self._add_new(stripped) if known is None else known

    def _add_new(self, text: str) -> int:
        number = self._by_meaning.setdefault(normalise_text(text), len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        else:
            self._texts[number] = min(self._texts[number], text)
        self._by_text[text] = number
        return number

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text, by number."""
        return tuple(self._texts)


def build_collection(name: str, pairs: Sequence[Pair], extra_passages: Iterable[str] = ()) -> Collection:
    """Unify texts that are equal after stripping or after `normalise_text`, and number them by appearance.

    A query that stands with several passages gets several relevant ones; a passage that stands with several
    queries is one passage. Negatives and `extra_passages` are passages too. Rows that are wholly equal count
    once. Raises InputError where a negative is a relevant passage of the same query, where only some rows
    have a negative, and where there is no pair.
    """
    diagnostics = DiagnosticList()
    queries, passages = TextIndex(), TextIndex()
    rows: dict[Judgement, str] = {}
    for pair in pairs:
        rows.setdefault(_judge(pair, queries, passages), pair.place)
    collection = Collection(name, queries.texts, passages.texts, tuple(rows))
    _check_negatives(collection, rows, diagnostics)
    if not rows:
        diagnostics.add("no-rows", "data", "there are no pairs")
    diagnostics.raise_if_any()
    extra = list(extra_passages)
    for text in extra:
        passages.add(text)
    merged = {
        **count_duplicates("queries", [pair.anchor for pair in pairs]),
        **_add(count_duplicates("passages", [pair.positive for pair in pairs]), count_duplicates("passages", extra)),
        "duplicate rows": len(pairs) - len(rows),
    }
    return Collection(name, queries.texts, passages.texts, tuple(rows), keep_counts(merged))


def count_duplicates(what: str, texts: Sequence[str]) -> dict[str, int]:
    """How many `texts` say no more than an earlier one: equal after stripping, and equal only once normalised."""
    exact = dict.fromkeys(text.strip() for text in texts)
    normalised = len(set(map(normalise_text, exact)))
    return {f"duplicate {what}": len(texts) - len(exact), f"normalised duplicate {what}": len(exact) - normalised}


def keep_counts(merged: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The counts above 0, as a collection holds them."""
    return tuple((what, count) for what, count in merged.items() if count)


def _add(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {what: count + more[what] for what, count in some.items()}


def _judge(pair: Pair, queries: TextIndex, passages: TextIndex) -> Judgement:
    query, passage = queries.add(pair.anchor), passages.add(pair.positive)
    return Judgement(query, passage, None if pair.negative is None else passages.add(pair.negative))


def _check_negatives(collection: Collection, rows: dict[Judgement, str], diagnostics: DiagnosticList) -> None:
    with_negative = sum(row.negative is not None for row in rows)
    for row, place in rows.items():
        where = place or "data"
        if row.negative is None:
            if with_negative:
                diagnostics.add(
                    "missing-value", where, "has no negative", expected="a negative in every row or in none"
                )
        elif row.negative in collection.relevant[row.query]:
            diagnostics.add(
                "negative-is-relevant",
                where,
                "its negative is a relevant passage of the same question",
                collection.passages[row.negative],
                expected="a passage that does not answer the question",
            )
