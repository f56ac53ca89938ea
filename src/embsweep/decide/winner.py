"""Which finished trial wins a sweep, and which checkpoints are worth their disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """A finished trial: its best objective and whether its weights are on disk."""

    number: int
    objective: float | None
    has_checkpoint: bool


def rank_contenders(contenders: Iterable[Contender]) -> list[Contender]:
    """Contenders from best to worst. Those without a finite objective or without weights cannot win.

    Equal objectives go to the lower number: it was there first.
    """
    able = [c for c in contenders if c.has_checkpoint and c.objective is not None and math.isfinite(c.objective)]
    return sorted(able, key=lambda c: (-(c.objective or 0.0), c.number))
