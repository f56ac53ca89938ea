"""Samplers by name. Each trial gets a new sampler, so that a resumed search draws the same values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from embsweep.config.sweep import SearchConfig
from embsweep.search.fidelity import Curve, carry_to_end, hold_to_end
from embsweep.search.record import REDRAWN

MODEL_BASED = ("tpe", "gp")
"""Samplers that learn from the trials' values."""

_RANDOM_EVERY = 3
"""One trial in so many is drawn at random beside a Gaussian process, the share of BOHB (Falkner et al., 2018).

Values at early rungs can mislead a model for good, if the best points begin slowly.
"""


def build_sampler(config: SearchConfig, trial_number: int, draw: int = 0) -> BaseSampler:
    """Return the sampler of one trial; its random numbers depend only on `config.seed`, the trial's number and `draw`.

    They are those of no other trial of a search with another seed: `seed + trial_number` would shift one search by a
    trial to give the other.

    Quasi-random points are a fixed sequence whose position the ledger keeps, so that their seed is the same for all
    trials. The cells of a grid are derived from the space (see `SearchLedger`); its sampler is never used.

    Args:
        config: The sampler.
        trial_number: Number of the trial.
        draw: How many points were drawn for the trial before, and rejected.
    """
    entropy = (config.seed, trial_number, draw) if draw else (config.seed, trial_number)
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    match config.sampler:
        case "tpe":
            return TPESampler(n_startup_trials=config.startup_trials, seed=seed)
        case "gp" if trial_number % _RANDOM_EVERY == 1:
            return RandomSampler(seed=seed)
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


def random_points(distributions: Mapping[str, BaseDistribution], seed: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield points at random, without end."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = RandomSampler(seed=int(np.random.SeedSequence((*seed, 0)).generate_state(1)[0]))
    study = optuna.create_study(sampler=sampler)
    while True:
        yield study.ask(dict(distributions)).params


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


def carry_values(trials: Sequence[FrozenTrial], curves: Sequence[Curve], rungs: Sequence[int]) -> np.ndarray:
    """Return each trial's expected value at the end of its schedule, float64 [n_trials]; see `carry_to_end`.

    Args:
        trials: The trials. A complete one gains nothing more.
        curves: Their running bests, of the objective or of another score.
        rungs: Steps at which trials are compared.
    """
    is_complete = [trial.state == TrialState.COMPLETE for trial in trials]
    held = [hold_to_end(curve) if done else curve for curve, done in zip(curves, is_complete, strict=True)]
    return np.array(carry_to_end(held, rungs))


_MOST_FITTED = 100
"""Trials to which a Gaussian process is fitted, which takes half a second on one thread; 200 would take twice that."""


_MOST_TAUGHT = 30
"""Impossible points that a sampler sees, the latest ones."""


def sampler_view(
    trials: Sequence[FrozenTrial],
    config: SearchConfig,
    rungs: Sequence[int],
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Return the trials as a sampler that fits a model should see them: all are complete.

    Their values are carried to the end of the schedule. A trial without reports counts with the median, so that the
    next point is not drawn beside it again; a failed one with the worst value, so that its corner is left, and so does
    an impossible point that was drawn before. Optuna's own GPSampler leaves stopped and failed trials out, and its TPE
    takes stopped ones for bad. Of many trials, a Gaussian process sees the best and the latest.

    Args:
        trials: Every trial, by number.
        config: The sampler; the others than `tpe` and `gp` look at no values.
        rungs: Steps at which trials are compared.
        distributions: The dimensions, for impossible points.
    """
    values = carry_values(trials, [trial.intermediate_values for trial in trials], rungs)
    has_failed = np.array([trial.state == TrialState.FAIL for trial in trials], bool)
    known = values[np.isfinite(values) & ~has_failed]
    if config.sampler not in MODEL_BASED or not known.size:
        return list(trials)
    values[~np.isfinite(values)] = np.median(known)
    values[has_failed] = known.min()
    chosen = _choose_fitted(values, config.startup_trials) if config.sampler == "gp" else range(len(trials))
    impossible = [point for trial in trials for point in trial.user_attrs.get(REDRAWN, {}).get("points", ())]
    return [
        *(
            create_trial(params=trials[i].params, distributions=trials[i].distributions, value=float(values[i]))
            for i in chosen
        ),
        *(
            create_trial(params=point, distributions=dict(distributions), value=float(known.min()))
            for point in impossible[-_MOST_TAUGHT:]
        ),
    ]


def _choose_fitted(values: np.ndarray, startup_trials: int) -> list[int]:
    """Return the positions of the best values, and of the latest others, in order; not fewer than the start-up has."""
    most = max(_MOST_FITTED, startup_trials)
    best = np.argsort(-values, kind="stable")[: most // 2].tolist()
    latest = [i for i in reversed(range(len(values))) if i not in set(best)]
    return sorted([*best, *latest[: most - len(best)]])
