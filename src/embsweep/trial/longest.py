"""The longest texts of the training data: what a measurement of memory or speed must use."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence

from embsweep.data.collection import Pair


def find_longest(pairs: Sequence[Pair], count: int) -> dict[str, list[str]]:
    """Columns of a training batch with `count` texts each, the longest of every column (by characters).

    Worse than any batch that can occur, since no pair need be long on all sides; repeated where the data have fewer.
    """
    columns = {"anchor": [p.anchor for p in pairs], "positive": [p.positive for p in pairs]}
    if pairs[0].negative is not None:
        columns["negative"] = [p.negative or "" for p in pairs]
    return {name: _longest(texts, count) for name, texts in columns.items()}


def _longest(texts: list[str], count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(heapq.nlargest(count, texts, key=len)), count))
