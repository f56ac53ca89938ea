"""Samplers by name. A sampler is built anew for every trial, so that a resumed search draws as an unbroken one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from embsweep.config.sweep import SearchConfig


def build_sampler(config: SearchConfig, trial_number: int) -> BaseSampler:
    """The sampler for one trial: its random numbers depend on `config.seed` and the trial's number alone.

    Quasi-random points are a fixed sequence whose position Optuna keeps in the ledger, so their seed is not
    moved on. The grid is laid out in the ledger's queue (see `Ledger.plan`); its sampler is never asked.
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
    """One thread for the Gaussian process, whose matrices are too small to be worth sharing out."""
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
