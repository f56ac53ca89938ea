"""From pairs to one judged collection: equal texts become one query or one passage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from embsweep.data.collection import Collection, Judgement, Pair
from embsweep.data.faults import FaultList


class Numbering:
    """Distinct stripped texts, numbered by first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The text's number, a new one where it was not seen before."""
        return self._numbers.setdefault(text.strip(), len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text, by number."""
        return tuple(self._numbers)


def build_collection(name: str, pairs: Sequence[Pair], extra_passages: Iterable[str] = ()) -> Collection:
    """Unify equal texts (after stripping, otherwise character by character) and number them by appearance.

    A query that stands with several passages gets several relevant ones; a passage that stands with several
    queries is one passage. Negatives and `extra_passages` are passages too. Rows that are wholly equal count
    once. Raises InputError where a negative is a relevant passage of the same query, where only some rows
    have a negative, and where there is no pair.
    """
    faults = FaultList()
    queries, passages = Numbering(), Numbering()
    rows: dict[Judgement, str] = {}
    for pair in pairs:
        rows.setdefault(_judge(pair, queries, passages), pair.place)
    collection = Collection(name, queries.texts, passages.texts, tuple(rows))
    _check_negatives(collection, rows, faults)
    if not rows:
        faults.add("data", "there are no pairs")
    faults.raise_if_any()
    extra = [passages.add(text) for text in extra_passages]
    merged = {
        "duplicate queries": len(pairs) - len(queries),
        "duplicate passages": len(pairs) - len({row.passage for row in rows}) + _count_repeats(extra),
        "duplicate rows": len(pairs) - len(rows),
    }
    counts = tuple((what, count) for what, count in merged.items() if count)
    return Collection(name, queries.texts, passages.texts, tuple(rows), counts)


def _count_repeats(numbers: list[int]) -> int:
    return len(numbers) - len(set(numbers))


def _judge(pair: Pair, queries: Numbering, passages: Numbering) -> Judgement:
    query, passage = queries.add(pair.anchor), passages.add(pair.positive)
    return Judgement(query, passage, None if pair.negative is None else passages.add(pair.negative))


def _check_negatives(collection: Collection, rows: dict[Judgement, str], faults: FaultList) -> None:
    with_negative = sum(row.negative is not None for row in rows)
    for row, place in rows.items():
        where = place or "data"
        if row.negative is None:
            if with_negative:
                faults.add(where, "has no negative", accepted="a negative in every row or in none")
        elif row.negative in collection.relevant[row.query]:
            faults.add(
                where,
                "its negative is a relevant passage of the same question",
                collection.passages[row.negative],
                accepted="a passage that does not answer the question",
            )
