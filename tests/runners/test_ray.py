"""The Ray runner: parallel trials in reused processes, each with its share of the CPUs."""

import time

import pytest

from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome, TrialResult, TrialStarted
from tests.doubles import scripted_trial

pytestmark = pytest.mark.ray


def test_two_trials_run_in_parallel_in_two_reused_processes(make_ray_runner, make_scheduler, tmp_path):
    scheduler = make_scheduler(6, should_stop=lambda number, report: number % 2 == 1)
    make_ray_runner(Slots(count=2, cpus=1, gpus=0.0)).run(scheduler, scripted_trial(at_once=2))
    begun = [scheduler.starts[number].started_at for number in (0, 1)]
    ended = [scheduler.results[number].ended_at for number in (0, 1)]
    assert max(begun) < min(ended), "the first two waited for each other"
    assert len({started.pid for started in scheduler.starts.values()}) == 2, (
        "one process per slot, also after a stopped trial"
    )
    assert {started.facts["threads"] for started in scheduler.starts.values()} == {"1"}, "as many as its slot has CPUs"
    assert sum(result.outcome == Outcome.STOPPED for result in scheduler.results.values()) == 3
    assert not (tmp_path / "scratch").exists()


def grouped_trial():
    """Return a trial function that joins accelerate's group, as the trainer does, and reports its size.

    It is a closure, so that Ray serialises it by value.
    """

    def trial_fn(job, reporter):
        from accelerate import PartialState

        state = PartialState(cpu=True)
        reporter.start(TrialStarted(1, "here", time.time(), 0.0, 0.0, {"processes": state.num_processes}))
        return TrialResult(Outcome.COMPLETE, 0.5, job.folder, time.time())

    return trial_fn


def test_two_workers_of_a_trial_are_one_group_for_the_trainer(make_ray_runner, make_scheduler):
    scheduler = make_scheduler(1)
    make_ray_runner(Slots(count=1, cpus=2, gpus=0.0, workers=2)).run(scheduler, grouped_trial())
    assert [result.outcome for result in scheduler.results.values()] == [Outcome.COMPLETE], scheduler.results
    assert scheduler.starts[0].facts == {"processes": 2}
