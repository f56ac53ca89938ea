"""Conversion between the dimensions of a search space and Optuna's distributions."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from embsweep.config.search_space import Choice, Dimension, FloatRange, IntRange, SearchSpace


def to_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return key → distribution; dimension and distribution both include the two ends of a range."""
    return {dimension.key: to_distribution(dimension) for dimension in space}


def to_distribution(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's counterpart of one dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.options)
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def from_distribution(key: str, distribution: BaseDistribution) -> Dimension:
    """Return the dimension from which `to_distribution` makes this distribution.

    Args:
        key: Key of the dimension.
        distribution: The distribution.

    Raises:
        TypeError: If `to_distribution` never makes such a distribution.
    """
    if isinstance(distribution, CategoricalDistribution):
        return Choice(key, tuple(str(choice) for choice in distribution.choices))
    if isinstance(distribution, IntDistribution):
        return IntRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    if isinstance(distribution, FloatDistribution):
        return FloatRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
    raise TypeError(f"{type(distribution).__name__} for {key}")
