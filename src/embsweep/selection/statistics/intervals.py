"""Confidence intervals and corrected p-values from resampled means. Few groups give wider intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embsweep.selection.scores import Array
from embsweep.selection.statistics.resampling import Grouping

CONFIDENCE = 0.95
_SAME = 1e-10
"""Statistics that differ by less than this are equal: they are sums of the same numbers in another order."""


def confidence_bounds(observed: Array, resampled: Array, grouping: Grouping, limits: tuple[float, float]) -> Array:
    """Compute the 95 % confidence bounds of each column.

    Each bound is the outer one of two candidates. The percentile of the resamples, at the level that a small sample
    needs (`small_sample_alpha`), follows a skewed distribution. Student's t bound, clipped to `limits`, is needed for
    few values. With 9 queries of mostly equal scores, both together contain the true value in 88 of 100 repetitions,
    percentiles alone in 81.

    Args:
        observed: Observed mean of each column, [n_columns].
        resampled: Bootstrap samples of these means, [n_resamples, n_columns].
        grouping: Passage groups of the queries.
        limits: Lowest and highest possible mean, for example (0, 1) for scores.

    Returns:
        float64 [2, n_columns]: the low and the high bounds. With one group these are `limits`, because a single group
        gives no estimate of the variance.
    """
    if grouping.count == 1:
        return np.repeat(np.array(limits)[:, np.newaxis], len(observed), axis=1)
    tail = small_sample_alpha(1 - CONFIDENCE, grouping.count) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    reach = t_quantile((1 + CONFIDENCE) / 2, grouping.count - 1) * estimate_errors(resampled, grouping)
    floor, ceiling = np.clip(np.stack([observed - reach, observed + reach]), *limits)
    return np.stack([np.minimum(low, floor), np.maximum(high, ceiling)])


def small_sample_alpha(alpha: float, groups: int) -> float:
    """Return the level at which a percentile interval of `groups` independent values is as wide as Student's.

    alpha'/2 = Phi(-sqrt(n/(n-1)) t_{1-alpha/2, n-1}): Hesterberg (2015), "What Teachers Should Know About the
    Bootstrap", The American Statistician 69(4), section 4.
    """
    from scipy.special import ndtr

    return float(2 * ndtr(-bessel_correction(groups) * t_quantile(1 - alpha / 2, groups - 1)))


def bessel_correction(groups: int) -> float:
    """Return the factor that corrects a bootstrap's standard deviation, which divides by n instead of n - 1."""
    return math.sqrt(groups / (groups - 1))


def estimate_errors(resampled: Array, grouping: Grouping) -> Array:
    """Estimate the standard error of each column's mean, [n_columns], from its bootstrap samples; 0 for one group."""
    if grouping.count == 1:
        return np.zeros(resampled.shape[1])
    return np.asarray(resampled.std(axis=0) * bessel_correction(grouping.count))


def t_quantile(probability: float, df: int) -> float:
    """Return the quantile of Student's t distribution with `df` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def detectable_effect_factor(df: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the number of standard errors that a difference must have to be detected.

    Args:
        df: Degrees of freedom of the standard error.
        alpha: Level of the two-sided test.
        power: Share of the samples in which the difference must be significant.
    """
    return t_quantile(1 - alpha / 2, df) + t_quantile(power, df)


def detectable_effects(errors: Array, grouping: Grouping) -> Array:
    """Compute the difference that is detected in 80 of 100 samples, from standard errors; 1 for one group."""
    if grouping.count == 1:
        return np.ones_like(errors)
    return np.asarray(detectable_effect_factor(grouping.count - 1) * errors)


def randomisation_p(statistics: Array) -> Array:
    """Compute each column's two-sided p-value: the share of rows at least as far from 0 as the first, observed row."""
    return np.asarray((np.abs(statistics) >= np.abs(statistics[0]) - _SAME).mean(axis=0))


def adjust_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Apply Holm's step-down correction to the p-values of a family of tests; the order is kept.

    Holm (1979), "A simple sequentially rejective multiple test procedure": the i-th smallest of m p-values is
    multiplied by m - i + 1; the result is never below its predecessor and never above 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = reached
    return tuple(adjusted)
