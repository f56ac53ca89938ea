"""How a machine is shared out."""

import pytest

from embsweep.config.machinery import RunnerConfig
from embsweep.errors import InputError
from embsweep.runner.slots import Machine, Slots, plan_slots


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
        ({"kind": "inline"}, Machine(4, 0), Slots(1, 4, 0.0)),
        ({"kind": "inline"}, Machine(4, 2), Slots(1, 4, 1.0)),
    ],
)
def test_plan(config, machine, expected):
    assert plan_slots(RunnerConfig(**{"kind": "ray", **config}), [machine]) == expected


@pytest.mark.parametrize("cpus", range(1, 20))
@pytest.mark.parametrize("limit", [None, 1, 3, 7])
def test_never_more_than_there_is(cpus, limit):
    slots = plan_slots(RunnerConfig(kind="ray", max_concurrent=limit), [Machine(cpus, 0)])
    assert 1 <= slots.count * slots.cpus <= cpus


def test_asking_for_what_is_not_there_names_every_key():
    config = RunnerConfig(kind="ray", gpus_per_trial=1.0, cpus_per_trial=8)
    with pytest.raises(InputError) as caught:
        plan_slots(config, [Machine(2, 0)])
    assert [f.where for f in caught.value.faults] == ["runner.gpus_per_trial", "runner.cpus_per_trial"]


@pytest.mark.parametrize(
    ("config", "machine", "expected"),
    [
        ({}, Machine(16, 0), Slots(4, 4, 0.0)),
        ({}, Machine(16, 8), Slots(4, 4, 1.0)),
        ({}, Machine(2, 0), Slots(2, 1, 0.0)),
    ],
)
def test_no_slot_without_a_trial(config, machine, expected):
    assert plan_slots(RunnerConfig(kind="ray", **config), [machine], 4) == expected
