"""Training rows of a split, all with the same number of hard negatives.

A loss takes a fixed number of texts per row. Where a row has fewer hard negatives than another one, passages of other
training rows stand in their place: what they are in a batch anyway, in-batch negatives.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from itertools import cycle, islice

from embsweep.data.collection import Collection, Judgement, Pair

FILLED = "hard negatives that training rows lack, each replaced by a passage of another row (an in-batch negative)"
_LEFT_OUT = "training rows left out because their hard negative answers a held-out query"
_UNUSABLE = "training rows left out because every training passage answers their query"
_DROPPED = "hard negatives left out because they answer a held-out query"


def list_training_rows(
    collection: Collection, queries: Sequence[int], held_out: Sequence[int]
) -> tuple[list[Judgement], dict[str, int]]:
    """Select the rows of training queries, without hard negatives that answer a held-out query.

    In triplets (one hard negative in every row of the source) such a row is left out.

    Args:
        collection: Collection with the rows.
        queries: Numbers of the training queries.
        held_out: Numbers of the validation and test queries.

    Returns:
        The rows in the order of the judgements, and what was left out, by description.
    """
    own, answers = set(queries), {passage for query in held_out for passage in collection.relevant[query]}
    are_triplets = all(len(row.negatives) == 1 for row in collection.judgements)
    usable: list[Judgement] = []
    counts = {_LEFT_OUT: 0, _DROPPED: 0}
    for row in collection.judgements:
        if row.query not in own:
            continue
        negatives = tuple(passage for passage in row.negatives if passage not in answers)
        if are_triplets and not negatives:
            counts[_LEFT_OUT] += 1
            continue
        counts[_DROPPED] += len(row.negatives) - len(negatives)
        usable.append(Judgement(row.query, row.passage, negatives))
    return usable, counts


def fill_negatives(collection: Collection, rows: Sequence[Judgement]) -> tuple[tuple[Pair, ...], dict[str, int]]:
    """Convert rows to pairs that all have the number of hard negatives of the row with the most.

    Missing ones are other rows' hard negatives, and their positives once those are used up; each is used about equally
    often, so that a sampler without duplicates can still fill its batches. They never answer the row's query. The
    choice depends on the texts, not on the order of rows.

    Returns:
        The pairs in the order of the rows, and how many negatives were filled in, by description. A row is left out if
        all training passages answer its query.
    """
    width = max(len(row.negatives) for row in rows)
    lacking = sorted(
        (place for place, row in enumerate(rows) if len(row.negatives) < width),
        key=lambda place: _draw(collection.queries[rows[place].query], collection.passages[rows[place].passage]),
    )
    supply = deque(_order_supply(collection, rows) if lacking else ())
    negatives = {place: row.negatives for place, row in enumerate(rows)}
    negatives |= {place: _fill(rows[place], width, collection, supply) for place in lacking}
    pairs = [
        Pair(
            collection.queries[row.query],
            collection.passages[row.passage],
            tuple(collection.passages[number] for number in negatives[place]),
        )
        for place, row in enumerate(rows)
        if len(negatives[place]) == width
    ]
    filled = sum(len(negatives[place]) - len(rows[place].negatives) for place in lacking)
    return tuple(pairs), {FILLED: filled, _UNUSABLE: len(rows) - len(pairs)}


def _order_supply(collection: Collection, rows: Sequence[Judgement]) -> list[int]:
    """Return the passages of the rows: all hard negatives, then all positives, each part shuffled."""
    negatives = {passage for row in rows for passage in row.negatives}
    positives = {row.passage for row in rows} - negatives
    return [
        passage
        for part in (negatives, positives)
        for passage in sorted(part, key=lambda passage: _draw(collection.passages[passage]))
    ]


def _fill(row: Judgement, width: int, collection: Collection, supply: deque[int]) -> tuple[int, ...]:
    """Return the row's negatives and the next fitting passages, which go to the end of the supply.

    If too few passages fit, as in tiny data, they are repeated; if none fits, the result is empty.
    """
    chosen, relevant = list(row.negatives), set(collection.relevant[row.query])
    for _ in range(len(supply)):
        if len(chosen) == width:
            break
        passage = supply[0]
        supply.rotate(-1)
        if passage not in relevant and passage not in chosen:
            chosen.append(passage)
    return tuple(islice(cycle(chosen), width))


def _draw(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
