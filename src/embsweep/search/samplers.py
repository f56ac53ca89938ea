"""Samplers by name. Each trial gets a new sampler, so that a resumed search draws the same values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from embsweep.config.sweep import SearchConfig


def build_sampler(config: SearchConfig, trial_number: int) -> BaseSampler:
    """Return the sampler of one trial; its random numbers depend only on `config.seed` and the trial's number.

    Quasi-random points are a fixed sequence whose position the ledger keeps, so that their seed is the same for all
    trials. The cells of a grid are derived from the space (see `SearchLedger`); its sampler is never used.
    """
    seed = config.seed + trial_number
    match config.sampler:
        case "tpe":
            return TPESampler(n_startup_trials=config.startup_trials, seed=seed)
        case "gp":
            return GPSampler(n_startup_trials=config.startup_trials, seed=seed)
        case "qmc":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return QMCSampler(
                    scramble=True,
                    seed=config.seed,
                    independent_sampler=RandomSampler(seed=seed),
                    warn_asynchronous_seeding=False,
                    warn_independent_sampling=False,
                )
        case "random" | "grid":
            return RandomSampler(seed=seed)


@contextmanager
def sampling_threads(config: SearchConfig) -> Iterator[None]:
    """Use one torch thread for the Gaussian process, whose matrices are too small to gain from more."""
    if config.sampler != "gp":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
