"""Which trials run on the GPU of a process, and which processes hold a GPU without a trial."""

from types import SimpleNamespace

import pytest

from embsweep.runners.ray.gpu_health import Card, GpuHealth
from embsweep.runners.ray.gpu_placement import GpuPlacement

GOOD, ILL = Card("node", "host", "0"), Card("node", "host", "1")


class Started:
    """Placement of the trials 0, 1, 2, … of a scheduler; `start` takes the next one to a process on a GPU."""

    def __init__(self, trials=9):
        self.queue = [SimpleNamespace(number=number) for number in range(trials)]
        self.health = GpuHealth(can_spare=lambda gpus: gpus < 2, warn=lambda text: None)
        self.placement = GpuPlacement(self.health, lambda: self.queue.pop(0) if self.queue else None)
        self.processes = 0

    def start(self, card):
        """Return the trial that the next process on `card` got, and whether it may run there."""
        self.processes += 1
        job = self.placement.take_next()
        self.placement.announce(str(self.processes))
        return job.number, self.placement.may_run(str(self.processes), job, card)

    def break_trial(self, number):
        self.health.record_break(ILL, number, "CUDA error")
        self.queue.insert(0, SimpleNamespace(number=number))  # as the scheduler, which suggests a lost trial first


def test_a_gpu_out_of_use_is_held_by_a_process_without_a_trial_and_the_trial_starts_elsewhere():
    started = Started()
    for number in (7, 8):
        started.health.record_break(ILL, number, "CUDA error")
    assert started.start(ILL) == (0, False)
    assert list(started.placement.holding.values()) == [ILL]
    assert started.placement.must_hold("1")
    assert started.start(GOOD) == (0, True)


def test_a_gpu_that_went_out_of_use_after_the_suggestion_is_not_held_yet():
    """The process cannot know it: it ends, and the next one there holds the GPU."""
    started = Started()
    job = started.placement.take_next()
    started.placement.announce("early")
    for number in (7, 8):
        started.health.record_break(ILL, number, "CUDA error")
    assert not started.placement.may_run("early", job, ILL)
    assert not started.placement.holding
    assert started.start(ILL) == (0, False)
    assert started.placement.holding


def test_another_trial_runs_first_on_the_gpu_on_which_a_trial_broke():
    started = Started()
    assert started.start(ILL) == (0, True)
    started.break_trial(0)
    assert [started.start(ILL), started.start(ILL), started.start(GOOD)] == [(0, False), (1, True), (0, True)]


def test_a_trial_that_broke_runs_on_the_same_gpu_if_there_is_no_other_trial():
    started = Started(trials=2)
    assert [started.start(ILL)[0], started.start(ILL)[0]] == [0, 1]
    started.health.can_spare = lambda gpus: False
    started.break_trial(0)
    started.break_trial(1)
    assert started.start(ILL) == (1, True)
    assert [job.number for job in started.placement.waiting] == [0]


@pytest.mark.parametrize("is_used_again", [False, True])
def test_a_process_holds_its_gpu_until_it_is_used_again(is_used_again):
    started = Started()
    for number in (7, 8):
        started.health.record_break(ILL, number, "CUDA error")
    started.start(ILL)
    if is_used_again:
        started.health.can_spare = lambda gpus: False
    assert started.placement.must_hold("1") is not is_used_again
    assert started.placement.release("1") is None
    assert not started.placement.holding
