"""How queries and passages hang together: several questions to a passage, several passages to a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from embsweep.audit.finding import Finding
from embsweep.audit.used import UsedData


@dataclass(frozen=True)
class Structure:
    """Number of queries → how many passages have so many, and the other way round; passages without one are 0."""

    queries_per_passage: Mapping[int, int]
    passages_per_query: Mapping[int, int]


def count_structure(data: UsedData) -> Structure:
    """Both histograms, over distinct queries and the whole corpus, in rising order."""
    per_passage = Counter(passage for _, passage in data.rows)
    per_query = Counter(query for query, _ in data.rows)
    unjudged = len(data.corpus) - len(per_passage)
    of_passages = Counter(per_passage.values()) + Counter({0: unjudged})
    return Structure(dict(sorted(of_passages.items())), dict(sorted(Counter(per_query.values()).items())))


def report_structure(structure: Structure) -> Iterator[Finding]:
    """Notes: neither structure is a fault, but an evaluation that does not know of it is wrong."""
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
