"""Pruners by name, over fractions of a trial's own planned schedule.

Optuna counts resources in whole numbers: a fraction of the schedule is given to it in thousandths. Rungs in
fractions and not in epochs, because at the same epoch a longer cosine schedule still has a higher learning rate.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner

from embsweep.config.sweep import StoppingConfig

STEPS_PER_SCHEDULE = 1000


def fraction_to_step(fraction: float) -> int:
    """A fraction of the schedule in thousandths, at least one. Rounded down: a rung is reached, never missed."""
    return max(1, int(fraction * STEPS_PER_SCHEDULE))


def build_pruner(config: StoppingConfig, first_fraction: float) -> BasePruner:
    """The pruner of a study; it decides from reported running bests.

    The first rung is never below the first evaluation: a trial that passed several rungs at once would have to
    be in the better half of the better half.
    """
    minimum = fraction_to_step(max(config.min_fraction, first_fraction))
    match config.kind:
        case "successive_halving":
            return SuccessiveHalvingPruner(min_resource=minimum, reduction_factor=config.reduction_factor)
        case "hyperband":
            return HyperbandPruner(
                min_resource=minimum, max_resource=STEPS_PER_SCHEDULE, reduction_factor=config.reduction_factor
            )
        case "none":
            return NopPruner()
