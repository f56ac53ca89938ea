"""The queries of the report: those that the winner gained and lost most on, and a list of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embsweep.reports.html.page import QueryText
from embsweep.selection.evidence import BASE, WINNER, EvaluationRecord, Evidence

MOST_LISTED = 2000
MOST_SHOWN = 20


@dataclass(frozen=True)
class QueryRow:
    """One test query: the objective's metric of base and winner at the largest dimension.

    The ranks are those of its first relevant passage, 0 if it is not among the first 100, None if they are not known.
    """

    position: int
    base: float
    winner: float
    base_rank: int | None
    winner_rank: int | None
    slice: str
    text: QueryText | None

    @property
    def gain(self) -> float:
        """Winner minus base."""
        return self.winner - self.base


@dataclass(frozen=True)
class QueryList:
    """`won` and `lost` by how much, and all queries, those with the largest difference first.

    `equal` is the number of queries on which both models score the same.
    """

    won: tuple[QueryRow, ...]
    lost: tuple[QueryRow, ...]
    rows: tuple[QueryRow, ...]
    wins: int
    losses: int
    equal: int
    has_ranks: bool
    has_slices: bool


def list_queries(evidence: Evidence, texts: Mapping[int, QueryText]) -> QueryList | None:
    """Return the test queries; None if the evidence lacks their scores at the largest dimension.

    Args:
        evidence: The evidence.
        texts: Position → texts, of those that are known.
    """
    rows = _build_rows(evidence, texts)
    if not rows:
        return None
    ordered = sorted(rows, key=lambda row: (-abs(row.gain), row.position))
    won, lost = [row for row in ordered if row.gain > 0], [row for row in ordered if row.gain < 0]
    return QueryList(
        won=tuple(won[:MOST_SHOWN]),
        lost=tuple(lost[:MOST_SHOWN]),
        rows=tuple(ordered),
        wins=len(won),
        losses=len(lost),
        equal=len(rows) - len(won) - len(lost),
        has_ranks=any(row.winner_rank is not None for row in rows),
        has_slices=bool(evidence.slices),
    )


def _build_rows(evidence: Evidence, texts: Mapping[int, QueryText]) -> list[QueryRow]:
    largest = max(evidence.dims)
    base, winner = evidence.test[BASE], evidence.test[WINNER]
    ours, theirs = winner.values.get(largest, ()), base.values.get(largest, ())
    base_ranks, winner_ranks = _ranks(base, len(ours)), _ranks(winner, len(ours))
    slices: Sequence[str] = evidence.slices if len(evidence.slices) == len(ours) else [""] * len(ours)
    return [
        QueryRow(position, theirs[position], ours[position], *ranks, slices[position], texts.get(position))
        for position, ranks in enumerate(zip(base_ranks, winner_ranks, strict=True))
        if len(ours) == len(theirs)
    ]


def _ranks(record: EvaluationRecord, count: int) -> Sequence[int | None]:
    return record.ranks if len(record.ranks) == count else [None] * count
