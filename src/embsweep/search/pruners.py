"""Pruners by name, over fractions of a trial's own planned schedule.

Optuna counts resources in integers, so that a fraction of the schedule is passed to it in thousandths. Rungs are in
fractions and not in epochs, because at the same epoch a longer cosine schedule still has a higher learning rate.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner

from embsweep.config.sweep import StoppingConfig

STEPS_PER_SCHEDULE = 1000


def fraction_to_step(fraction: float) -> int:
    """Return a fraction of the schedule in thousandths, at least 1.

    Rounded down, as rungs are: an evaluation at a rung's fraction always reaches that rung.
    """
    return max(1, int(fraction * STEPS_PER_SCHEDULE))


def build_pruner(config: StoppingConfig, first_fraction: float) -> BasePruner:
    """Return the pruner of a study; it decides from the reported running bests.

    The first rung is never below the first evaluation: a trial that passed several rungs at once would have to be in
    the better half of the better half.

    Args:
        config: Kind of pruner, smallest fraction and reduction factor.
        first_fraction: Fraction of the schedule at the first evaluation.
    """
    minimum = fraction_to_step(max(config.min_fraction, first_fraction))
    match config.kind:
        case "successive_halving":
            return SuccessiveHalvingPruner(min_resource=minimum, reduction_factor=config.reduction_factor)
        case "hyperband":
            return HyperbandPruner(
                min_resource=minimum, max_resource=STEPS_PER_SCHEDULE, reduction_factor=config.reduction_factor
            )
        case "none" | "promotion":  # promotion pauses trials itself
            return NopPruner()
