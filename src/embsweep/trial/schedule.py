"""At which optimizer steps a trial is evaluated: fractions of its own planned schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def compute_rungs(fractions: Sequence[float], total_steps: int) -> Mapping[int, float]:
    """Optimizer step → fraction, for `total_steps` planned steps.

    On a schedule so short that fractions meet at one step, the largest of them stands for it: the last step
    is always an evaluation at 1.0.
    """
    return {max(1, round(fraction * total_steps)): fraction for fraction in sorted(fractions)}
