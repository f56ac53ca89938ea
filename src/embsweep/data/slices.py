"""Slices of the queries: the value of the column `data.slice`, such as source, language or product.

They are used when the winner is compared with its base, and change neither the split nor its fingerprint.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from embsweep.core.names import NO_SLICE, OTHER_SLICES
from embsweep.data.excerpts import cut_text

LONGEST_LABEL = 100
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # embeddings, overrides and isolates
MOST_SLICES = 30
"""Slices of a set of queries; the smallest ones are merged if there are more."""


def to_label(value: object) -> str:
    """Return the label of a value: in one line, without control characters, cut; `NO_SLICE` if nothing is left.

    Controls of direction are left out too: in a table or chart they would turn what follows the label.
    """
    return sys.intern(cut_text(_DIRECTIONS.sub("", str(value)), LONGEST_LABEL) or NO_SLICE)


def choose_slices(rows: Iterable[tuple[int, str]], count: int) -> tuple[tuple[str, ...], list[str]]:
    """Choose one slice for each query.

    A query whose rows have several values gets the one of most rows, of equally frequent ones the first in code-point
    order. So the choice does not depend on the order of the rows.

    Args:
        rows: Number of the query and label of each row.
        count: Number of queries.

    Returns:
        The label of each query, and lines about queries without a value or with several.
    """
    votes = Counter(row for row in rows if row[1] != NO_SLICE)
    chosen, several = [NO_SLICE] * count, set[int]()
    for (query, label), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0][1])):
        if chosen[query] == NO_SLICE:
            chosen[query] = label
        else:
            several.add(query)
    without = chosen.count(NO_SLICE)
    notes = [f"queries without a value of data.slice, in the slice {NO_SLICE}: {without:,}"] if without else []
    if several:
        notes.append(f"queries with several values of data.slice, in the slice of most of their rows: {len(several):,}")
    return tuple(chosen), notes


def merge_rare_slices(labels: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Merge the smallest slices, if there are more than `MOST_SLICES`, into `OTHER_SLICES`.

    Returns:
        The label of each query, and the number of slices that were merged.
    """
    sizes = Counter(labels)
    if len(sizes) <= MOST_SLICES:
        return tuple(labels), 0
    kept = set(sorted(sizes, key=lambda label: (-sizes[label], label))[: MOST_SLICES - 1])
    return tuple(label if label in kept else OTHER_SLICES for label in labels), len(sizes) - len(kept)
