"""How small a difference the held-out sides can show at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embsweep.audit.finding import Finding
from embsweep.data.collection import RetrievalSet
from embsweep.data.groups import label_groups

FEW_QUERIES = 100
FEW_GROUPS = 30

_POWER_FACTOR = 2.8
"""1.96 + .84: two-sided at .05, found four times in five (Sakai: Laboratory Experiments in IR, 2018, chapter 7)."""


@dataclass(frozen=True)
class HeldOut:
    """One held-out side. `detectable` is the smallest difference of MAP@100 that it will probably show."""

    name: str
    queries: int
    groups: int
    detectable: float

    @property
    def is_small(self) -> bool:
        """Whether a winner chosen or reported here is mostly luck."""
        return self.queries < FEW_QUERIES or self.groups < FEW_GROUPS


def measure_held_out(name: str, data: RetrievalSet, spread: float) -> HeldOut:
    """The size of one side; `spread` is the standard deviation of a query's average precision.

    The difference of two models varies about as much as one model does where they correlate by a half. The
    questions of one passage are not independent, so the truth is rather worse.
    """
    queries = len(data.queries)
    return HeldOut(name, queries, len(set(label_groups(data.relevant))), _POWER_FACTOR * spread / math.sqrt(queries))


def report_held_out(sides: Sequence[HeldOut]) -> Iterator[Finding]:
    """A warning where a side has fewer than 100 queries or fewer than 30 passage groups."""
    small = [
        f"{side.name} has {side.queries:,} queries in {side.groups:,} passage groups and will not show differences of "
        f"MAP@100 below about {side.detectable:.2f}"
        for side in sides
        if side.is_small
    ]
    if small:
        yield Finding("few-held-out-queries", "warning", "; ".join(small))
