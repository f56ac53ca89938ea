"""How many workers fit on the machines, and how long a sweep waits if none does."""

import inspect

import pytest

from embsweep.runners.resources import Machine, Slots, count_fitting_workers


@pytest.mark.parametrize(
    ("slots", "machines", "count"),
    [
        (Slots(1, 2, 0.0), [Machine(3, 0), Machine(1, 0)], 1),
        (Slots(1, 2, 2.0, workers=2), [Machine(8, 1)], 1),
        (Slots(1, 2, 2.0, workers=2), [Machine(8, 1), Machine(1, 4)], 2),
        (Slots(4, 1, 0.5), [Machine(8, 1), Machine(8, 0)], 2),
        (Slots(1, 1, 0.0), [], 0),
    ],
)
def test_count_fitting_workers(slots, machines, count):
    assert count_fitting_workers(slots, machines) == count


@pytest.mark.slow
def test_default_capacity_timeout_is_ten_minutes():
    from embsweep.runners.ray.capacity import watch_capacity
    from embsweep.runners.ray.runner import RayRunner

    assert inspect.signature(RayRunner).parameters["patience_s"].default == 600.0
    assert inspect.signature(watch_capacity).parameters["patience_s"].default == 600.0
