"""The file of test queries: what base and winner make of each, with the beginnings of the texts.

It is in the sweep's folder, which only its owner can read. With `report.texts=false` there is none.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from embsweep.config.base import FrozenModel
from embsweep.core.files import atomic_write
from embsweep.data.collection import RetrievalSet
from embsweep.data.excerpts import cut_text
from embsweep.selection.evidence import BASE, WINNER, EvaluationRecord, Evidence
from embsweep.selection.scores import Array
from embsweep.sweep.folder import SweepFolder

MOST_QUERIES = 2_000
"""Queries in the file: those whose score changed most."""

LONGEST_TEXT = 300
"""Characters of a query or passage in the file."""


class QueryRecord(FrozenModel):
    """One test query with its scores before and after training, and the beginning of its texts.

    `position` is its place among the test queries, as in the evidence's values, groups and slices. `passage` is one of
    its relevant passages. A rank is that of the first relevant passage at the largest dimension, 0 if it is not among
    the first 100, None if it is not known. `slice` is None without `data.slice`.
    """

    position: int
    query: str
    passage: str
    base: float
    winner: float
    base_rank: int | None = None
    winner_rank: int | None = None
    slice: str | None = None

    @property
    def gain(self) -> float:
        """The winner's score minus the base model's."""
        return self.winner - self.base


class QueryRecords(FrozenModel):
    """The test queries, those whose score changed most first; `left_out` of `total` are not here.

    The scores are the objective's metric at `dim`, the largest dimension.
    """

    metric: str
    dim: int
    total: int
    left_out: int
    queries: Annotated[tuple[QueryRecord, ...], Field(strict=False)]


def save_test_queries(folder: SweepFolder, evidence: Evidence, test: RetrievalSet, *, texts: bool) -> None:
    """Write the file of the test queries; without `texts` delete an earlier one instead.

    Args:
        folder: The folder of the sweep.
        evidence: Evidence about the winner.
        test: The test split.
        texts: Whether texts of the data may be written, `report.texts`.
    """
    if not texts:
        folder.test_queries.unlink(missing_ok=True)
        return
    atomic_write(folder.test_queries, build_test_queries(evidence, test).model_dump_json().encode())


def load_test_queries(folder: SweepFolder) -> QueryRecords | None:
    """Return the test queries of a finished sweep; None if there is no file of them, or it is damaged."""
    with suppress(OSError, ValidationError):
        return QueryRecords.model_validate_json(folder.test_queries.read_bytes())
    return None


def build_test_queries(evidence: Evidence, test: RetrievalSet) -> QueryRecords:
    """Build the records of the test queries from the scores in the evidence and the texts.

    Args:
        evidence: Evidence about the winner.
        test: The test split, whose queries are in the order of the evidence's values.
    """
    dim = max(evidence.dims)
    base, winner = evidence.test[BASE], evidence.test[WINNER]
    scores = np.column_stack([record.per_query[dim] for record in (base, winner)])
    order = _sort_by_change(scores)[:MOST_QUERIES]
    records = tuple(
        QueryRecord(
            position=place,
            query=cut_text(test.queries[place], LONGEST_TEXT),
            passage=cut_text(test.corpus[test.relevant[place][0]], LONGEST_TEXT),
            base=float(scores[place, 0]),
            winner=float(scores[place, 1]),
            base_rank=_rank(base, place),
            winner_rank=_rank(winner, place),
            slice=evidence.slices[place] if evidence.slices else None,
        )
        for place in order
    )
    total = len(test.queries)
    return QueryRecords(metric=evidence.metric, dim=dim, total=total, left_out=total - len(records), queries=records)


def _sort_by_change(scores: Array) -> list[int]:
    """Return the positions of the queries, the largest change first; those that changed as much in their order."""
    changes = np.abs(scores[:, 1] - scores[:, 0])
    return [int(place) for place in np.argsort(-changes, kind="stable")]


def _rank(record: EvaluationRecord, place: int) -> int | None:
    return record.ranks[place] if record.ranks else None
