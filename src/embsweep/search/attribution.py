"""Shares of the parameters in a target, with bootstrap intervals, or the reason why nothing can be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import FrozenTrial

from embsweep.search.ped_anova import Column, build_column, compute_divergences

LEAST_TRIALS = 20
"""Trials with a value below which nothing is said."""

_TOP, _LEAST_TOP = 0.2, 8
"""The best fifth of the trials is compared with all, but at least eight trials. With Optuna's tenth and five, twice as
many trials are needed to see the same effect."""

_ALPHA, _LEAST_LOW = 0.05, 0.05
"""Nothing is said unless permuted values have as large an effect in at most 5 % of the cases, and the interval of some
share begins above 5 %. Of simulated sweeps that pass both, 98 % name the right parameter (decision 46)."""

_RESAMPLES, _PERMUTATIONS, _LEVEL, _SEED = 200, 99, 0.9, 0
_TOO_FEW = "too few trials to say"


@dataclass(frozen=True)
class Share:
    """Share of one parameter, in [0, 1], and the ends of its 90 % interval."""

    share: float
    low: float
    high: float


NO_SHARE = Share(math.nan, math.nan, math.nan)
"""Stands for the share of a parameter that has none."""


@dataclass(frozen=True)
class TargetImportance:
    """What mattered for one target: the share of each parameter, or the `reason` why nothing can be said.

    The shares add up to 1. A parameter without a share had the same value in all `trials` that count.
    """

    trials: int
    shares: Mapping[str, Share] = field(default_factory=dict)
    reason: str = ""


def attribute(trials: Sequence[FrozenTrial], values: np.ndarray, *, maximize: bool = True) -> TargetImportance:
    """Compute the share of each parameter in being among the best trials.

    Args:
        trials: The trials that count, of one study. A parameter that is absent from a trial is inactive there.
        values: Their values, finite, float64 [n_trials].
        maximize: Whether higher values are better.
    """
    count = len(trials)
    if count < LEAST_TRIALS:
        return TargetImportance(count, reason=f"{_TOO_FEW} ({count} with a value, at least {LEAST_TRIALS} are needed)")
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = {name: column for name in names if (column := build_column(trials, name)).varies}
    if not columns:
        return TargetImportance(count, reason="no parameter has more than one value")
    losses, rng = -values if maximize else values, np.random.default_rng(_SEED)
    excess, is_by_chance = _compare_with_chance(list(columns.values()), losses, rng)
    if is_by_chance:
        return TargetImportance(count, reason=f"{_TOO_FEW} ({count}: chance alone can have as large an effect)")
    shares, resampled = _to_shares(excess), _to_shares(_resample(list(columns.values()), losses, rng))
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    if low.max() <= _LEAST_LOW:
        return TargetImportance(count, reason=f"{_TOO_FEW} ({count}: the interval of every share begins below 5%)")
    rows = zip(shares, np.minimum(low, shares), np.maximum(high, shares), strict=True)
    return TargetImportance(count, {name: Share(*map(float, row)) for name, row in zip(columns, rows, strict=True)})


def _compare_with_chance(
    columns: Sequence[Column], losses: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Return how far the divergences exceed those by chance, and whether permuted losses can give as large ones.

    Few trials always differ somewhat from many, also if nothing matters. The mean divergence with permuted losses is
    therefore subtracted.

    Returns:
        The excess, float64 [n_params]; whether the largest one, in standard deviations, is within what chance gives.
    """
    once = np.ones((1, len(losses)), int)
    permuted = [rng.permutation(losses) for _ in range(_PERMUTATIONS)]
    found, *by_chance = compute_divergences(columns, once, select_best(np.array([losses, *permuted]), once))[0]
    mean, spread = np.mean(by_chance, axis=0), np.std(by_chance, axis=0) + np.finfo(float).tiny
    largest = ((found - mean) / spread).max()
    as_large = sum(((other - mean) / spread).max() >= largest for other in by_chance)
    return found - mean, bool((1 + as_large) / (1 + _PERMUTATIONS) > _ALPHA)


def _resample(columns: Sequence[Column], losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the excess in resamples of the trials, float64 [n_resamples, n_params].

    Their repeated trials differ more by chance, so that their own mean with permuted losses is subtracted.
    """
    count = len(losses)
    times = rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    is_best = [select_best(np.array([losses, rng.permutation(losses)]), row[None])[0] for row in times]
    found, by_chance = compute_divergences(columns, times, np.stack(is_best)).swapaxes(0, 1)
    return np.asarray(found - by_chance.mean(axis=0))


def _to_shares(excess: np.ndarray) -> np.ndarray:
    positive = np.maximum(excess, 0.0)
    return np.asarray(positive / np.maximum(positive.sum(axis=-1, keepdims=True), np.finfo(float).tiny))


def select_best(losses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return which trials are compared with all: the fifth with the lowest losses, at least eight, and their equals.

    Args:
        losses: Lower is better, float64 [n_targets, n_trials].
        times: How often each trial is in each resample, int [n_resamples, n_trials].

    Returns:
        Bool [n_resamples, n_targets, n_trials].
    """
    order = np.argsort(losses, axis=-1, kind="stable")
    count = min(losses.shape[-1], max(_LEAST_TOP, math.ceil(_TOP * losses.shape[-1])))
    last = (times[:, order].cumsum(axis=-1) >= count).argmax(axis=-1)  # [n_resamples, n_targets]
    threshold = np.take_along_axis(np.sort(losses, axis=-1), last.T, axis=-1).T
    return np.asarray(losses <= threshold[..., None])
