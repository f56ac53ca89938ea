"""Trials on two workers: completed, stopped, with dying workers, and with a dying process that reports for them."""

import os
import signal

import pytest

from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome
from tests.doubles import FakeScheduler, scripted_trial

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TWO_WORKERS = Slots(count=2, cpus=2, gpus=0.0, workers=2)
"""More trials at once than fit on this process's Ray, as after the loss of a node."""

STOPPED, DIES_ONCE = 0, 1


@pytest.fixture(scope="module")
def finished():
    """List with the scheduler of the trials of this file once they have run."""
    return []


@pytest.fixture
def scheduler(finished, make_ray_runner, make_scheduler):
    """A scheduler with one stopped trial, and one whose last worker is killed in the first attempt; run once."""
    if not finished:
        finished.append(make_scheduler(2, should_stop=lambda number, report: number == STOPPED))
        make_ray_runner(TWO_WORKERS).run(finished[0], scripted_trial({DIES_ONCE: "die once"}))
    return finished[0]


def test_the_first_worker_reports_and_a_stop_ends_all_workers(scheduler):
    assert [report.step for report in scheduler.reports[STOPPED]] == [1]
    assert scheduler.results[STOPPED].outcome == Outcome.STOPPED
    assert scheduler.starts[STOPPED].facts["threads"] == "1", "as many as its share of the CPUs"
    assert STOPPED not in scheduler.losses


def test_a_trial_whose_worker_died_resumes(scheduler):
    """It uses the resources that the stopped trial released: only one trial fits at a time."""
    (reason,) = scheduler.losses[DIES_ONCE]
    assert reason.startswith("a worker process of the trial died")
    steps = [report.step for report in scheduler.reports[DIES_ONCE]]
    assert steps == sorted(steps), "it resumes from its state, not from its beginning"
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert (scheduler.results[DIES_ONCE].outcome, scheduler.results[DIES_ONCE].best_objective) == (
        Outcome.COMPLETE,
        4.0,
    )


def test_the_last_trial_releases_its_resources_too(scheduler):
    """They are needed for the verification of the winner."""
    import ray

    assert ray.get(ray.remote(num_cpus=2)(lambda: "free").remote(), timeout=30) == "free"
    assert [g for g in ray.util.placement_group_table().values() if g["state"] != "REMOVED"] == []


class KillingScheduler(FakeScheduler):
    """A scheduler that kills the process in which Tune runs the trial, once, as soon as the trial has started."""

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
def test_a_dead_reporting_process_does_not_keep_the_resources_of_its_workers(make_ray_runner, make_config, tmp_path):
    scheduler = KillingScheduler(make_config().trial, tmp_path, 1)
    make_ray_runner(TWO_WORKERS).run(scheduler, scripted_trial())
    assert scheduler.killed
    assert len(scheduler.losses[0]) == 1
    assert scheduler.results[0].outcome == Outcome.COMPLETE, "only one trial fits at a time"
