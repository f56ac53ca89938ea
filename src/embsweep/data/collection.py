"""The data as values: a collection of queries, passages and judgements, and its splits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


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
