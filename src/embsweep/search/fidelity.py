"""Values at several fidelities: a trial's scores at the rungs, and its last score carried to the end of the schedule.

Optuna's samplers ignore stopped trials, or take them for bad ones. Carried values let them learn from every trial that
has reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

Curve = Mapping[int, float]
"""Running best of a trial at each step (thousandth of its schedule) that it has reported."""


def rung_values(curves: Sequence[Curve], rungs: Sequence[int]) -> list[dict[int, float]]:
    """Return each curve's value at the rungs that it has reached, by index of the rung.

    The value at a rung is that of the first report at or after it: trials with other schedules report elsewhere.
    """
    found = []
    for curve in curves:
        steps = sorted(curve)
        at = {rung: next((s for s in steps if s >= step), None) for rung, step in enumerate(rungs)}
        found.append({rung: curve[step] for rung, step in at.items() if step is not None})
    return found


def carry_to_end(curves: Sequence[Curve], rungs: Sequence[int], ended: Collection[int] = ()) -> list[float]:
    """Return each trial's expected final value: its last one, plus the median gain of the others from rung to rung.

    Args:
        curves: The trials' curves.
        rungs: Steps of the rungs, the last one the end of the schedule.
        ended: Positions of the trials that gain nothing more: they have ended, some by patience before their last rung.

    Returns:
        One value per curve; minus infinity for a curve without reports. A gain that no trial has shown counts as 0.
    """
    values = rung_values(curves, rungs)
    gains = [
        float(np.median(pairs)) if (pairs := [v[rung + 1] - v[rung] for v in values if rung + 1 in v]) else 0.0
        for rung in range(len(rungs) - 1)
    ]
    return [
        max(curve.values()) + (0.0 if i in ended else sum(gains[max(at, default=0) :])) if curve else -np.inf
        for i, (curve, at) in enumerate(zip(curves, values, strict=True))
    ]
