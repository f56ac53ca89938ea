"""Values at several fidelities: a trial's scores at the rungs, and its last score carried to the end of the schedule.

Optuna's samplers ignore stopped trials, or take them for bad ones. Carried values let them learn from every trial that
has reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embsweep.search.pruners import STEPS_PER_SCHEDULE

Curve = Mapping[int, float]
"""Running best of a trial at each step (thousandth of its schedule) that it has reported."""


def hold_to_end(curve: Curve) -> Curve:
    """Return the curve of a trial that gains nothing more: it is complete, maybe by patience before its last step."""
    return {**curve, STEPS_PER_SCHEDULE: max(curve.values())} if curve else curve


def rung_values(curves: Sequence[Curve], rungs: Sequence[int]) -> list[dict[int, float]]:
    """Return each curve's value at the rungs that it has reached, by index of the rung.

    Trials with other schedules report elsewhere: between two reports the value is interpolated. A trial's first report
    counts at the last rung before it, but at no earlier one, where it would be compared with much younger trials.
    """
    return [_values_at(curve, rungs) for curve in curves]


def _values_at(curve: Curve, rungs: Sequence[int]) -> dict[int, float]:
    if not curve:
        return {}
    steps = sorted(curve)
    values = np.interp(rungs, steps, [curve[step] for step in steps])
    followers = (*rungs[1:], np.inf)
    return {i: float(values[i]) for i, rung in enumerate(rungs) if rung <= steps[-1] and steps[0] < followers[i]}


def carry_to_end(curves: Sequence[Curve], rungs: Sequence[int]) -> list[float]:
    """Return each trial's expected final value: its last one, plus the median gain of the others from rung to rung.

    A trial that has reported between two rungs gains the rest of the way in proportion.

    Args:
        curves: The trials' curves.
        rungs: Steps of the rungs, the last one the end of the schedule.

    Returns:
        One value per curve; minus infinity for a curve without reports. A gain that no trial has shown counts as 0.
    """
    values = rung_values(curves, rungs)
    gains = [
        float(np.median(shown)) if (shown := [v[i + 1] - v[i] for v in values if i in v and i + 1 in v]) else 0.0
        for i in range(len(rungs) - 1)
    ]
    still_to_come = np.cumsum([0.0, *reversed(gains)])[::-1]  # at each rung
    return [max(c.values()) + float(np.interp(max(c), rungs, still_to_come)) if c else -np.inf for c in curves]
