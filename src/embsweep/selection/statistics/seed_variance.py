"""Seed variance: pooled standard deviation between runs of one configuration, and its share in a comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.objective import compute_objective
from embsweep.selection.scores import Array, PerQuery
from embsweep.selection.statistics.intervals import (
    CONFIDENCE,
    bessel_correction,
    detectable_effect_factor,
    detectable_effects,
    t_quantile,
)
from embsweep.selection.statistics.resampling import Grouping
from embsweep.selection.statistics.significance import Bounds, Difference


@dataclass(frozen=True)
class SeedVariance:
    """Pooled standard deviation of a run's score at each column (dimensions, None for the objective).

    `df` is the sum over the configurations of their number of runs minus one; 0 if no configuration was run twice.
    """

    deviations: dict[int | None, float]
    df: int

    def of(self, difference: Difference, runs: tuple[int, int]) -> Array:
        """Return the seed standard deviation of a difference of two means over `runs` runs each, at each column."""
        share = np.sqrt(1 / runs[0] + 1 / runs[1])
        return np.array([share * self.deviations[column] for column in difference.columns])


def estimate_seed_variance(configurations: Iterable[Sequence[PerQuery]], config: ObjectiveConfig) -> SeedVariance:
    """Estimate the seed variance from the runs of each configuration on the same queries.

    All configurations share one standard deviation, because two runs alone estimate it poorly.
    """
    squares: dict[int | None, float] = defaultdict(float)
    df = 0
    for runs in configurations:
        scores = [score_run(run, config) for run in runs]
        df += max(0, len(runs) - 1)
        for column in scores[0] if scores else ():
            squares[column] += len(runs) * float(np.var([score[column] for score in scores]))
    return SeedVariance({column: float(np.sqrt(total / max(1, df))) for column, total in squares.items()}, df)


def score_run(run: PerQuery, config: ObjectiveConfig) -> dict[int | None, float]:
    """Compute one run's mean at every dimension, and its objective under the key None."""
    means: dict[int | None, float] = {dim: float(values.mean()) for dim, values in run.items()}
    scores = {dim: {config.metric: float(values.mean())} for dim, values in run.items()}
    return {**means, None: compute_objective(scores, config)}


def add_seed_noise(
    difference: Difference, noise: SeedVariance, grouping: Grouping, *, runs: tuple[int, int], seed: int
) -> Bounds:
    """Compute the bounds of a difference of seed-averaged means, with both query and seed variance.

    Every bootstrap sample of the queries, its deviation widened as `confidence_bounds` widens a percentile, gets a draw
    of the pooled seed noise from Student's t. The p-value is the larger one of the randomisation test's and of twice
    the share of samples beyond 0.

    Args:
        difference: Difference of the two means, with its bootstrap samples.
        noise: Pooled seed variance.
        grouping: Passage groups of the queries.
        runs: Number of runs (seeds) in each of the two means.
        seed: Seed of the draws.

    Returns:
        The bounds. If there is only one group or no configuration was run twice, a variance cannot be estimated: the
        bounds are then -1 and 1, the p-value and the detectable difference 1.
    """
    if grouping.count == 1 or noise.df == 0:
        ones = np.ones(len(difference.columns))
        return Bounds(-ones, ones, p_values=ones, detectable=ones)
    by_seed = noise.of(difference, runs)
    samples = _widen(difference, grouping)
    draws = np.random.default_rng((seed, 2)).standard_t(noise.df, size=len(samples))
    samples += draws[:, np.newaxis] * by_seed
    tail = (1 - CONFIDENCE) / 2
    limits = np.maximum(1.0, np.abs(difference.observed))  # beyond 1 only if constraints are violated
    low, high = np.clip(np.quantile(samples, [tail, 1 - tail], axis=0), -limits, limits)
    by_query = detectable_effects(difference.errors, grouping)
    return Bounds(
        low=low,
        high=high,
        p_values=np.maximum(difference.p_values, _tail_p(samples)),
        detectable=np.hypot(by_query, detectable_effect_factor(noise.df) * by_seed),
    )


def _widen(difference: Difference, grouping: Grouping) -> Array:
    from scipy.special import ndtri

    middle = (1 + CONFIDENCE) / 2
    factor = bessel_correction(grouping.count) * t_quantile(middle, grouping.count - 1) / float(ndtri(middle))
    return np.asarray(difference.observed + factor * (difference.resampled - difference.observed))


def _tail_p(samples: Array) -> Array:
    beyond = np.minimum((samples <= 0).sum(axis=0), (samples >= 0).sum(axis=0))
    return np.asarray(np.minimum(1.0, 2 * (1 + beyond) / (1 + len(samples))))
