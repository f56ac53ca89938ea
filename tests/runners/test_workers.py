"""Trials on two workers of Ray Train: one ends, one is stopped, workers die, and the process that speaks for them."""

import os
import signal

import pytest

from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome
from tests.doubles import FakeScheduler, scripted_trial

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TWO_WORKERS = Slots(count=2, cpus=2, gpus=0.0, workers=2)
"""More at once than this process's Ray has room for, as where a node was lost."""

STOPPED, DIES_ONCE = 0, 1


@pytest.fixture(scope="module")
def served():
    """The desk that the trials of this file reported to; served by the first test that asks."""
    return []


@pytest.fixture
def scheduler(served, make_ray_runner, make_scheduler):
    """One trial is stopped; of the next one's first attempt, the last worker is killed."""
    if not served:
        served.append(make_scheduler(2, should_stop=lambda number, report: number == STOPPED))
        make_ray_runner(TWO_WORKERS).run(served[0], scripted_trial({DIES_ONCE: "die once"}))
    return served[0]


def test_the_first_worker_speaks_and_a_stop_ends_them_all(scheduler):
    assert [report.step for report in scheduler.reports[STOPPED]] == [1]
    assert scheduler.results[STOPPED].outcome == Outcome.STOPPED
    assert scheduler.starts[STOPPED].facts["threads"] == "1", "as many as its share of the CPUs"
    assert STOPPED not in scheduler.losses


def test_a_worker_that_dies_is_no_diagnostic_of_the_trial_which_goes_on(scheduler):
    """In the place that the stopped one gave back: there is room for one trial only."""
    assert len(scheduler.losses[DIES_ONCE]) == 1
    steps = [report.step for report in scheduler.reports[DIES_ONCE]]
    assert steps == sorted(steps), "from its state, not from its beginning"
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert (scheduler.results[DIES_ONCE].outcome, scheduler.results[DIES_ONCE].best_objective) == (
        Outcome.COMPLETE,
        4.0,
    )


def test_the_last_trial_gives_its_place_back_too(scheduler, ray_session):
    """For the proof of the winner."""
    from embsweep.runners.ray.remote_call import run_remote

    assert run_remote(TWO_WORKERS, max, 1, 2) == 2


class KillingScheduler(FakeScheduler):
    """Kills the process that Tune runs the trial in, once, as soon as the trial has started."""

    killed = 0

    def on_trial_start(self, number, started):
        super().on_trial_start(number, started)
        if self.killed:
            return
        import psutil

        for process in psutil.Process().children(recursive=True):
            if process.name().startswith("ray::Implicit"):
                os.kill(process.pid, signal.SIGKILL)
                self.killed += 1


@pytest.mark.nightly
def test_a_dead_driver_of_a_trial_does_not_hold_the_place_of_its_workers(make_ray_runner, make_config, tmp_path):
    scheduler = KillingScheduler(make_config().trial, tmp_path, 1)
    make_ray_runner(TWO_WORKERS).run(scheduler, scripted_trial())
    assert scheduler.killed
    assert len(scheduler.losses[0]) == 1
    assert scheduler.results[0].outcome == Outcome.COMPLETE, "there is room for one trial only: the first one's"
