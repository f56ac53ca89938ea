"""Samplers by name. Each trial gets a new sampler, so that a resumed search draws the same values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from embsweep.config.sweep import SearchConfig
from embsweep.search.fidelity import carry_to_end


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


def sampler_view(trials: Sequence[FrozenTrial], sampler: str, rungs: Sequence[int]) -> list[FrozenTrial]:
    """Return the trials as a sampler that fits a model should see them: all that have reported are complete.

    Their values are carried to the end of the schedule. Optuna's own GPSampler leaves stopped trials out, and its TPE
    takes them for bad ones. Trials without reports stay as they are, so that the sampler keeps away from them.

    Args:
        trials: Every trial, by number.
        sampler: The sampler; the others than `tpe` and `gp` look at no values.
        rungs: Steps at which trials are compared.
    """
    if sampler not in ("tpe", "gp"):
        return list(trials)
    values = carry_to_end([trial.intermediate_values for trial in trials], rungs)
    return [
        create_trial(params=trial.params, distributions=trial.distributions, value=value)
        if trial.state != TrialState.FAIL and math.isfinite(value)
        else trial
        for trial, value in zip(trials, values, strict=True)
    ]
