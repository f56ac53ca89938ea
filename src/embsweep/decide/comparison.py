"""What a comparison of two models on the same queries says, as values."""

from __future__ import annotations

from embsweep.config.base import Part


class Interval(Part):
    """A mean over the queries with its 95 % interval."""

    mean: float
    low: float
    high: float


class Comparison(Part):
    """Ours minus a rival's on the same queries; `dim` None is the objective over all dimensions.

    `low` and `high` bound the difference in 95 of 100 samples of queries. `p_value` is that of a two-sided
    randomisation test of a difference that is `margin`, `adjusted_p` the same after Holm's correction for all
    comparisons made together. `detectable` is by how much a difference must be above `margin` so that so many queries
    would show it in 80 of 100 samples.
    """

    rival: str
    dim: int | None
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p: float
    detectable: float
    queries: int
    groups: int
    margin: float = 0.0
