"""From resampled means to intervals that are as wide as few groups make them, and to corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embsweep.selection.statistics.resampling import Array, Grouping

CONFIDENCE = 0.95
_SAME = 1e-10
"""Statistics closer than this are equal: they are sums of the same numbers in another order."""


def confidence_bounds(observed: Array, resampled: Array, grouping: Grouping, limits: tuple[float, float]) -> Array:
    """95 % bounds of each column: float64 [2, n_columns], low and high.

    At each end the outer one of two: the percentile of the resamples at the level that a small sample needs
    (`small_sample_alpha`), which follows a skewed distribution, and Student's, cut at `limits`, which few values need. Of 9
    queries with mostly equal scores, the two together hold the truth in 88 of 100 repetitions, percentiles in 81. With
    one group it is `limits` themselves, for nothing can be said.
    """
    if grouping.count == 1:
        return np.repeat(np.array(limits)[:, np.newaxis], len(observed), axis=1)
    tail = small_sample_alpha(1 - CONFIDENCE, grouping.count) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    reach = t_quantile((1 + CONFIDENCE) / 2, grouping.count - 1) * estimate_errors(resampled, grouping)
    floor, ceiling = np.clip(np.stack([observed - reach, observed + reach]), *limits)
    return np.stack([np.minimum(low, floor), np.maximum(high, ceiling)])


def small_sample_alpha(alpha: float, groups: int) -> float:
    """The level at which a percentile interval of `groups` independent values is as wide as Student's.

    alpha'/2 = Phi(-sqrt(n/(n-1)) t_{1-alpha/2, n-1}): Hesterberg (2015), "What Teachers Should Know About the
    Bootstrap", The American Statistician 69(4), section 4.
    """
    from scipy.special import ndtr

    return float(2 * ndtr(-bessel_correction(groups) * t_quantile(1 - alpha / 2, groups - 1)))


def bessel_correction(groups: int) -> float:
    """What a bootstrap's standard deviation lacks: it divides by n where n - 1 is right."""
    return math.sqrt(groups / (groups - 1))


def estimate_errors(resampled: Array, grouping: Grouping) -> Array:
    """Standard error of each column's mean, from its bootstrap samples."""
    if grouping.count == 1:
        return np.zeros(resampled.shape[1])
    return np.asarray(resampled.std(axis=0) * bessel_correction(grouping.count))


def t_quantile(probability: float, df: int) -> float:
    """Student's quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def detectable_effect_factor(df: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """How many standard errors a difference must have to be found at `alpha` (two-sided) with `power`."""
    return t_quantile(1 - alpha / 2, df) + t_quantile(power, df)


def randomisation_p(statistics: Array) -> Array:
    """Two-sided p-value of each column: the share of rows as far from 0 as the first one, which is the observed."""
    return np.asarray((np.abs(statistics) >= np.abs(statistics[0]) - _SAME).mean(axis=0))


def adjust_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction of a family of tests, in the order given.

    Holm (1979), "A simple sequentially rejective multiple test procedure": the i-th smallest of m times m - i + 1,
    never below its predecessor and never above 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = reached
    return tuple(adjusted)
