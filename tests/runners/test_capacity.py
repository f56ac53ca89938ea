"""How many workers fit on the machines, and how long a sweep waits if none does."""

import inspect
from types import SimpleNamespace

import pytest

from embsweep.core.errors import CodedError
from embsweep.runners.resources import Machine, Slots, count_fitting_workers
from tests.refusals import raises_code


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
    assert count_fitting_workers(machines, slots.gpus_per_worker, slots.cpus_per_worker) == count


@pytest.mark.slow
def test_default_capacity_timeout_is_ten_minutes():
    from embsweep.runners.ray.capacity import CapacityWatch
    from embsweep.runners.ray.runner import RayRunner

    assert inspect.signature(RayRunner).parameters["patience_s"].default == 600.0
    assert inspect.signature(CapacityWatch).parameters["patience_s"].default == 600.0


@pytest.mark.slow
def test_a_sweep_ends_once_no_trial_has_fitted_for_the_time(monkeypatch):
    from embsweep.runners.ray import capacity

    clock, nodes = SimpleNamespace(now=0.0), [{"Alive": True, "Resources": {"CPU": 2.0}}]
    monkeypatch.setattr(capacity, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(capacity.ray, "nodes", lambda: nodes)
    watch = capacity.CapacityWatch(Slots(1, 2, 0.0), patience_s=20.0)

    def wait(seconds):
        clock.now += seconds
        watch.require()

    wait(100.0)
    nodes[0]["Alive"] = False
    wait(15.0)
    wait(4.0)
    with raises_code(CodedError, "not-enough-room"):
        wait(2.0)


@pytest.mark.slow
def test_gpus_can_be_spared_while_a_trial_fits_on_the_others(monkeypatch):
    """A process that holds a GPU also holds the CPUs of a trial."""
    from embsweep.runners.ray import capacity

    node = {"Alive": True, "Resources": {"CPU": 5.0, "GPU": 3.0}}
    monkeypatch.setattr(capacity.ray, "nodes", lambda: [node])
    watch = capacity.CapacityWatch(Slots(count=6, cpus=1, gpus=0.5))
    assert [watch.can_spare(gpus) for gpus in (1, 2, 3)] == [True, True, False]
    assert [watch.count_at_once(held) for held in (0, 1, 4, 5)] == [6, 4, 1, 1]
    node["Resources"]["CPU"] = 1.0
    assert not watch.can_spare(1)
