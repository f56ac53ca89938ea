"""Between a search space and Optuna's distributions, there and back."""

from __future__ import annotations

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from embsweep.space import Choice, Dimension, FloatRange, IntRange, Space


def to_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Key → distribution; both ends of a range are included on either side."""
    return {dimension.key: to_distribution(dimension) for dimension in space}


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's counterpart of one dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def from_distribution(key: str, distribution: BaseDistribution) -> Dimension:
    """The dimension that `to_distribution` made it from. TypeError for a distribution it never makes."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(key, tuple(str(choice) for choice in distribution.choices))
    if isinstance(distribution, IntDistribution):
        return IntRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    if isinstance(distribution, FloatDistribution):
        return FloatRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    raise TypeError(f"{type(distribution).__name__} for {key}")
