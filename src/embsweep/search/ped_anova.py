"""PED-ANOVA for many resamples at once: how much the densities of the best trials and of all trials differ.

The figures are those of Optuna's `PedAnovaImportanceEvaluator` (Watanabe et al., 2023) before its constant factor. It
takes 20 ms for 300 trials of 10 parameters, too long for hundreds of resamples of several targets; here its estimators
are evaluated on arrays. A test compares the two, so that a change in Optuna is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from scipy.special import ndtr

_MOST_CELLS, _LEAST_SIGMA, _FLOOR, _LEAST_USED = 50, 0.5 / 1.64, 1e-12, 2
"""Optuna's values: cells of a numerical parameter, smallest bandwidth in cells, smallest density, fewest trials."""

INACTIVE = -1
"""Cell of a trial that does not use the parameter."""


@dataclass(frozen=True)
class Column:
    """One parameter on a grid: the cell of each trial, int [n_trials]; the number of cells; whether they are in order.

    A cell is one option of a choice, or an interval between two ends.
    """

    cells: np.ndarray
    size: int
    is_ordered: bool

    @property
    def varies(self) -> bool:
        """True if two trials that use the parameter are in different cells."""
        return len({*self.cells[self.cells != INACTIVE].tolist()}) > 1


def build_column(trials: Sequence[FrozenTrial], name: str) -> Column:
    """Return one parameter of the trials on a grid; it is inactive where it is absent."""
    active = np.array([name in trial.params for trial in trials], bool)
    cells = np.full(len(trials), INACTIVE)
    distribution = next((trial.distributions[name] for trial in trials if name in trial.params), None)
    if distribution is None or distribution.single():
        return Column(cells, 1, is_ordered=False)
    values = np.array([distribution.to_internal_repr(t.params[name]) for t in trials if name in t.params], float)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        cells[active], size = _to_grid(distribution, values)
        return Column(cells, size, is_ordered=True)
    cells[active] = values  # indices of the options
    size = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1
    return Column(cells, size, is_ordered=False)


def _to_grid(distribution: IntDistribution | FloatDistribution, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the cell of each value, and the number of cells; those of a logarithmic range are equal in logarithms."""
    low, high, size = float(distribution.low), float(distribution.high), _MOST_CELLS
    if isinstance(distribution, IntDistribution) and distribution.log:
        size = math.ceil(math.log2(high - low + 1)) + 1
    elif distribution.step is not None:
        size = round((high - low) / distribution.step) + 1
    size = min(size, _MOST_CELLS)
    if distribution.log:
        low, high, values = math.log(low), math.log(high), np.log(values)
    width = (high - low) / (size - 1)
    return np.clip(np.ceil((values - low) / width - 0.5), 0, size - 1), size  # a tie goes down, as in Optuna


def compute_divergences(columns: Sequence[Column], times: np.ndarray, is_best: np.ndarray) -> np.ndarray:
    """Compute Pearson's divergence of the best trials' density from that of all, for each parameter.

    Args:
        columns: The parameters.
        times: How often each trial is in each resample, int [n_resamples, n_trials].
        is_best: Whether it is one of the best for each target, bool [n_resamples, n_targets, n_trials].

    Returns:
        Float64 [n_resamples, n_targets, n_params]; 0 for a parameter that none of the best uses, or only one trial.
    """
    best = is_best * times[:, None]
    return np.stack([_divergence(column, times, best) for column in columns], axis=-1)


def _divergence(column: Column, times: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the divergences of one parameter. Where few trials use it, they weigh as in Optuna's conditional form."""
    membership = (column.cells[:, None] == np.arange(column.size)).astype(float)
    everywhere, among_best = times @ membership, best @ membership
    used, used_best = everywhere.sum(-1), among_best.sum(-1)
    estimate = _ordered_density if column.is_ordered else _unordered_density
    density = estimate(everywhere)[:, None] + _FLOOR
    ratio = (estimate(among_best.reshape(-1, column.size)) + _FLOOR).reshape(among_best.shape) / density
    share, share_best = used / times.sum(-1), used_best / best.sum(-1)
    weight = share_best**2 / np.maximum(share, _FLOOR)[:, None]
    is_used = (used >= _LEAST_USED)[:, None] & (used_best > 0)
    return np.asarray(np.where(is_used, weight * (density * (ratio - 1) ** 2).sum(-1), 0.0))


def _unordered_density(counts: np.ndarray) -> np.ndarray:
    """Return the density over options, float64 [n_rows, n_cells], of counts [n_rows, n_cells]."""
    size, total = counts.shape[-1], counts.sum(-1, keepdims=True)
    blur = 1 / ((counts > 0).sum(-1, keepdims=True) + 1)
    return np.asarray(((counts + total * blur) / (1 + size * blur) + 1 / size) / (total + 1))


def _ordered_density(counts: np.ndarray) -> np.ndarray:
    """Return the density over a grid: a normal distribution at each trial, with Scott's bandwidth, cut at the ends."""
    size, total = counts.shape[-1], counts.sum(-1)
    cells = np.arange(size)
    sigma = _bandwidth(counts, cells, np.maximum(total, 1))
    edges = np.arange(size + 1) - 0.5
    spread = ndtr((edges - cells[:, None]) / sigma[:, None, None])  # [n_rows, center, edge]
    mass = np.diff(spread) / (spread[..., -1:] - spread[..., :1])
    prior = np.diff(ndtr((edges - (size - 1) / 2) / size))
    mixed = np.einsum("rc,rce->re", counts, mass) + prior / prior.sum()
    return np.asarray(mixed / (total[:, None] + 1))


def _bandwidth(counts: np.ndarray, cells: np.ndarray, total: np.ndarray) -> np.ndarray:
    mean = counts @ cells / total
    variance = (counts * (cells - mean[:, None]) ** 2).sum(-1) / np.maximum(1, total - 1)
    up_to = counts.cumsum(-1)
    first = (up_to >= np.maximum(total // 4, 1)[:, None]).argmax(-1)
    third = (up_to > (total * 3 // 4)[:, None]).argmax(-1)
    return np.asarray(
        np.maximum(1.059 * np.minimum((third - first) / 1.34, np.sqrt(variance)) * total**-0.2, _LEAST_SIGMA)
    )
