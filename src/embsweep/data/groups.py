"""Passage groups, and the fingerprint of a split.

A passage group is a set of queries connected by shared relevant passages (or documents); a split must not divide it.
The fingerprint is a hash of every text, every judgement and every side.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from embsweep.data.collection import Collection, Pair, RetrievalSet


@dataclass(frozen=True)
class Group:
    """Connected component of the graph of queries and relevant passages: its query numbers and its number of rows."""

    queries: tuple[int, ...]
    rows: int


def find_groups(collection: Collection, seed: int, side: str | None = None) -> list[Group]:
    """Find all groups that have a judged query, in an order drawn from `seed` and the texts.

    Groups are sorted by the SHA-256 of the seed and the group's smallest query text, so the order does not depend on
    the order of the source's rows. A hard negative does not connect groups; a common `Pair.group` does.

    Args:
        collection: Collection with all queries.
        seed: Seed of the order.
        side: Side whose queries are grouped, as `collection.sides` has it; None for the queries without a fixed side.
    """
    members: dict[int, list[int]] = defaultdict(list)
    relevant = [
        passages if collection.sides.get(query) == side else () for query, passages in enumerate(collection.relevant)
    ]
    labels = label_groups(_connect_documents(collection, relevant))
    for query, passages in enumerate(relevant):
        if passages:
            members[labels[query]].append(query)
    rows = Counter(labels[judgement.query] for judgement in collection.judgements if relevant[judgement.query])
    groups = [Group(tuple(queries), rows[label]) for label, queries in members.items()]
    return sorted(groups, key=lambda group: _draw(seed, min(collection.queries[query] for query in group.queries)))


def _connect_documents(collection: Collection, relevant: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """Return the relevant passages with the groups of their rows as further, common passages."""
    if not collection.groups:
        return relevant
    first = len(collection.passages)
    return [
        (*passages, *(first + group for group in groups)) if passages else ()
        for passages, groups in zip(relevant, collection.groups, strict=True)
    ]


def cap_groups(groups: Sequence[Group], max_pairs: int | None) -> list[Group]:
    """Select groups, in order, whose rows do not exceed `max_pairs` in total; all groups if it is None.

    A group that does not fit into the remaining rows is skipped; later, smaller ones may still fit.
    """
    if max_pairs is None:
        return list(groups)
    kept, remaining = [], max_pairs
    for group in groups:
        if group.rows <= remaining:
            kept.append(group)
            remaining -= group.rows
    return kept


def label_groups(relevant: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Compute the passage group of each query as an integer label, [n_queries].

    Queries that share a relevant passage, directly or through other queries, have the same label. `relevant[i]` holds
    the numbers of the passages relevant to query i.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offset = len(relevant)
    size = offset + 1 + max((passage for passages in relevant for passage in passages), default=0)
    queries = np.repeat(np.arange(offset), [len(passages) for passages in relevant])
    passages = np.array([passage + offset for passages in relevant for passage in passages], dtype=np.int64)
    edges = coo_array((np.ones(len(queries), dtype=np.int8), (queries, passages)), shape=(size, size))
    labels = connected_components(edges, directed=False)[1]
    return tuple(int(label) for label in labels[:offset])


def _draw(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).hexdigest()


def compute_split_fingerprint(train: Sequence[Pair], held_out: Sequence[RetrievalSet], corpus: Sequence[str]) -> str:
    """Compute the SHA-256 of a split, 64 hexadecimal digits.

    It is the same in every process and for every order of the source's rows.

    Args:
        train: Training pairs.
        held_out: Retrieval sets of the validation and the test side, in this order.
        corpus: Every passage of the corpus.
    """
    records: list[list[object]] = [
        ["train", pair.anchor, pair.positive, *(pair.negatives or (None,))] for pair in train
    ]
    records += [
        ["held out", side, query, sorted(answers.corpus[position] for position in relevant)]
        for side, answers in enumerate(held_out)
        for query, relevant in zip(answers.queries, answers.relevant, strict=True)
    ]
    records += [["corpus", text] for text in corpus]
    lines = (f"{line}\n" for line in sorted(map(json.dumps, records)))
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()
