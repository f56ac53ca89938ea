"""Sizes of the data: the smallest detectable difference of each held-out side, and histograms of relevance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embsweep.audit.findings import Finding
from embsweep.audit.split_view import SplitView
from embsweep.data.collection import RetrievalSet
from embsweep.data.groups import label_groups

FEW_QUERIES = 100
FEW_GROUPS = 30

_POWER_FACTOR = 2.8
"""1.96 + .84: two-sided at .05, with a power of .8 (Sakai: Laboratory Experiments in IR, 2018, chapter 7)."""


@dataclass(frozen=True)
class HeldOut:
    """One held-out side.

    `detectable` is the smallest difference of MAP@100 that is detected with a power of .8, as estimated before
    training; None if that is not possible. The end of a sweep reports one measured on paired differences of two models.
    """

    name: str
    queries: int
    groups: int
    detectable: float | None


def measure_held_out(name: str, data: RetrievalSet, spread: float | None) -> HeldOut:
    """Measure the size of one side and estimate the smallest difference that it can detect.

    The estimate is a lower bound, because the questions of one passage are not independent.

    Args:
        name: Name of the side.
        data: Queries, corpus and relevant passages.
        spread: Standard deviation of a query's average precision. It approximates that of the difference of two models,
            to which it is equal if the two have a correlation of .5. None if it is not known.
    """
    queries = len(data.queries)
    detectable = None if spread is None else _POWER_FACTOR * spread / math.sqrt(queries)
    return HeldOut(name, queries, len(set(label_groups(data.relevant))), detectable)


def report_held_out(sides: Sequence[HeldOut]) -> Iterator[Finding]:
    """Yield a warning if a side has fewer than 100 queries or fewer than 30 passage groups."""
    small = [
        f"{side.name} has {side.queries:,} queries in {side.groups:,} passage groups and {_describe_power(side)}"
        for side in sides
        if side.queries < FEW_QUERIES or side.groups < FEW_GROUPS
    ]
    if small:
        yield Finding("few-held-out-queries", "warning", "; ".join(small))


def _describe_power(side: HeldOut) -> str:
    if side.detectable is None:
        return (
            "may miss a real gain; from which difference of MAP@100 it shows one cannot be estimated before training, "
            "because BM25 ranks nearly all queries alike"
        )
    return (
        f"will not show differences of MAP@100 below about {side.detectable:.2f} (estimated before training, from the "
        "spread of BM25's scores)"
    )


@dataclass(frozen=True)
class Structure:
    """Histograms of relevance.

    `queries_per_passage` maps a number of queries to the number of passages that have so many; key 0 counts the
    passages without a query. `passages_per_query` is the reverse.
    """

    queries_per_passage: Mapping[int, int]
    passages_per_query: Mapping[int, int]


def count_structure(data: SplitView) -> Structure:
    """Count both histograms over distinct queries and the whole corpus, with keys in ascending order."""
    per_passage = Counter(passage for _, passage in data.rows)
    per_query = Counter(query for query, _ in data.rows)
    unjudged = len(data.corpus) - len(per_passage)
    of_passages = Counter(per_passage.values()) + Counter({0: unjudged})
    return Structure(dict(sorted(of_passages.items())), dict(sorted(Counter(per_query.values()).items())))


def report_structure(structure: Structure) -> Iterator[Finding]:
    """Yield notes about the structure: it is no error, but an evaluation that ignores it is wrong."""
    judged = {count: passages for count, passages in structure.queries_per_passage.items() if count}
    if max(judged) > 1:
        mean = sum(count * passages for count, passages in judged.items()) / sum(judged.values())
        several = sum(passages for count, passages in judged.items() if count > 1)
        message = (
            f"several questions share a passage: {several:,} of {sum(judged.values()):,} answered passages have more "
            f"than one question, {mean:.1f} on average, {max(judged)} at most"
        )
        yield Finding("several-questions-per-passage", "note", message)
    per_query = structure.passages_per_query
    if max(per_query) > 1:
        several = sum(queries for count, queries in per_query.items() if count > 1)
        message = f"{several:,} of {sum(per_query.values()):,} queries have several passages, {max(per_query)} at most"
        yield Finding("several-passages-per-query", "note", message)
    unjudged = structure.queries_per_passage.get(0, 0)
    if unjudged:
        total = sum(structure.queries_per_passage.values())
        yield Finding("unjudged-passages", "note", f"{unjudged:,} of {total:,} passages answer no query")
