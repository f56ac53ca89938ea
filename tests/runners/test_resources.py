"""Planning of slots: how trials and workers share the resources of machines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import InputError
from embsweep.runners.factory import open_runner
from embsweep.runners.resources import Machine, Slots, describe_idle_gpus, plan_slots
from tests.refusals import raises_diagnostics
from tests.texts import numbers_in


@pytest.mark.parametrize(
    ("config", "machine", "expected"),
    [
        ({}, Machine(2, 0), Slots(2, 1, 0.0)),
        ({}, Machine(8, 0), Slots(8, 1, 0.0)),
        ({"max_concurrent": 2}, Machine(8, 0), Slots(2, 4, 0.0)),
        ({"cpus_per_trial": 4}, Machine(8, 0), Slots(2, 4, 0.0)),
        ({"cpus_per_trial": 3}, Machine(8, 0), Slots(2, 3, 0.0)),
        ({}, Machine(16, 1), Slots(1, 16, 1.0)),
        ({}, Machine(16, 4), Slots(4, 4, 1.0)),
        ({"trials_per_gpu": 2}, Machine(16, 1), Slots(2, 8, 0.5)),
        ({"trials_per_gpu": 3}, Machine(16, 2), Slots(6, 2, 1 / 3)),
        ({"gpus_per_trial": 0.25}, Machine(16, 1), Slots(4, 4, 0.25)),
        ({"gpus_per_trial": 0.25, "max_concurrent": 3}, Machine(16, 1), Slots(3, 5, 0.25)),
        ({"gpus_per_trial": 0.0}, Machine(4, 1), Slots(4, 1, 0.0)),
    ],
)
def test_plan_slots(config, machine, expected):
    assert plan_slots(RunnerConfig(**{"kind": "ray", **config}), [machine]) == expected


@pytest.mark.parametrize("cpus", range(1, 20))
@pytest.mark.parametrize("limit", [None, 1, 3, 7])
def test_plan_slots_never_exceeds_the_machine(cpus, limit):
    slots = plan_slots(RunnerConfig(kind="ray", max_concurrent=limit), [Machine(cpus, 0)])
    assert 1 <= slots.count * slots.cpus <= cpus


def test_missing_resources_are_reported_for_every_key():
    config = RunnerConfig(kind="ray", gpus_per_trial=1.0, cpus_per_trial=8)
    with raises_diagnostics(("not-enough-gpus", "runner.gpus_per_trial"), ("not-enough-cpus", "runner.cpus_per_trial")):
        plan_slots(config, [Machine(2, 0)])


@pytest.mark.parametrize(
    ("config", "machine", "expected"),
    [
        ({}, Machine(16, 0), Slots(4, 4, 0.0)),
        ({}, Machine(16, 8), Slots(4, 4, 1.0)),
        ({}, Machine(2, 0), Slots(2, 1, 0.0)),
    ],
)
def test_plan_slots_makes_no_slot_without_a_trial(config, machine, expected):
    assert plan_slots(RunnerConfig(kind="ray", **config), [machine], 4) == expected


@pytest.mark.parametrize(
    ("config", "machines", "expected"),
    [
        ({"workers_per_trial": 2}, [Machine(8, 4)], Slots(2, 4, 2.0, 2)),
        ({"workers_per_trial": 2}, [Machine(2, 0)], Slots(1, 2, 0.0, 2)),
        ({"workers_per_trial": 2}, [Machine(2, 0)] * 3, Slots(3, 2, 0.0, 2)),
        ({"workers_per_trial": 2, "max_concurrent": 2}, [Machine(2, 0)] * 3, Slots(2, 2, 0.0, 2)),
        ({"workers_per_trial": 3}, [Machine(8, 1), Machine(8, 1), Machine(8, 1)], Slots(1, 24, 3.0, 3)),
        ({"workers_per_trial": 2, "cpus_per_trial": 4}, [Machine(3, 1), Machine(3, 1)], Slots(1, 4, 2.0, 2)),
        ({"workers_per_trial": 2, "gpus_per_trial": 0.0}, [Machine(4, 2)], Slots(2, 2, 0.0, 2)),
        ({}, [Machine(0, 0), Machine(4, 2)], Slots(2, 2, 1.0)),
        ({"gpus_per_trial": 0.4}, [Machine(16, 2)], Slots(4, 4, 0.4)),
        ({"cpus_per_trial": 3}, [Machine(4, 0), Machine(8, 0)], Slots(3, 3, 0.0)),
    ],
)
def test_plan_slots_with_several_workers_and_machines(config, machines, expected):
    assert plan_slots(RunnerConfig(**{"kind": "cluster", **config}), machines) == expected


machines = st.lists(st.builds(Machine, st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=4)
configs = st.fixed_dictionaries(
    {"workers_per_trial": st.integers(1, 4)},
    optional={"trials_per_gpu": st.integers(1, 4), "max_concurrent": st.integers(1, 5)},
)


@pytest.mark.slow
@given(machines, configs, st.none() | st.integers(1, 3))
def test_planned_slots_fit_in_any_order_of_placement(machines, config, cpus):
    """Workers are placed one by one on the first machine with capacity, as a cluster may do it: the last one fits."""
    workers = config["workers_per_trial"]
    if workers > 1:
        config = {**config, "trials_per_gpu": 1}
    try:
        slots = plan_slots(
            RunnerConfig(kind="cluster", **config, cpus_per_trial=None if cpus is None else cpus * workers), machines
        )
    except InputError as error:
        assert {diagnostic.location for diagnostic in error.diagnostics} <= {
            f"runner.{key}" for key in ("workers_per_trial", "cpus_per_trial", "gpus_per_trial", "trials_per_gpu")
        }
        return
    assert slots.count >= 1
    assert slots.cpus % workers == 0
    cpus_left = [machine.cpus for machine in machines]
    gpus_left = [[1.0] * machine.gpus for machine in machines]
    for _ in range(slots.count * workers):
        index, gpu = next(
            (index, gpu)
            for index in range(len(machines))
            if cpus_left[index] >= slots.cpus_per_worker
            for gpu in ([None] if not slots.gpus else range(len(gpus_left[index])))
            if gpu is None or gpus_left[index][gpu] >= slots.gpus_per_worker - 1e-9
        )
        cpus_left[index] -= slots.cpus_per_worker
        if gpu is not None:
            gpus_left[index][gpu] -= slots.gpus_per_worker


def test_resources_that_are_not_on_one_machine_are_reported():
    config = RunnerConfig(kind="cluster", cpus_per_trial=4, workers_per_trial=2)
    with raises_diagnostics(("not-enough-room", "runner.workers_per_trial")) as caught:
        plan_slots(config, [Machine(2, 1), Machine(1, 3), Machine(8, 0)])
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.value, numbers_in(diagnostic.message)) == (2, [1, 2, 1]), "workers; fitting workers, CPUs, GPUs"


@pytest.mark.parametrize(
    ("config", "machine", "expected"),
    [
        ({}, Machine(4, 0), Slots(1, 4, 0.0)),
        ({}, Machine(4, 2), Slots(1, 4, 1.0)),
        ({"cpus_per_trial": 2}, Machine(4, 0), Slots(1, 2, 0.0)),
    ],
)
def test_a_runner_in_this_process_has_one_slot(config, machine, expected, tmp_path):
    config = RunnerConfig(kind="inline", **config)
    assert open_runner(config, tmp_path).plan(config, [machine], 9, tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("inline", "Inline"), ("ray", "Ray"), ("cluster", "Cluster")])
def test_the_kind_chooses_the_runner_and_starts_nothing(kind, name, tmp_path):
    runner = open_runner(RunnerConfig(kind=kind), tmp_path)
    assert type(runner).__name__ == f"{name}Runner"
    assert runner.is_remote is (kind == "cluster")


@pytest.mark.parametrize(
    ("machines", "slots", "idle"),
    [
        ([Machine(4, 8)], Slots(4, 1, 1.0), "4 of 8 GPUs"),
        ([Machine(4, 8)], Slots(2, 1, 1.0), None),  # fewer trials than that
        ([Machine(8, 8)], Slots(8, 1, 1.0), None),
        ([Machine(2, 2)], Slots(2, 1, 0.5), "1 of 2 GPUs"),
        ([Machine(4, 8)], Slots(4, 1, 0.0), None),
        ([Machine(2, 4), Machine(8, 4)], Slots(1, 6, 6.0, workers=6), "2 of 8 GPUs"),
    ],
)
def test_gpus_without_a_cpu_are_said(machines, slots, idle):
    line = describe_idle_gpus(slots, machines)
    assert line is None if idle is None else line.startswith(idle)
