"""Placement of trials on a node with four GPUs, checked by their times and by the resources that Ray assigned.

The GPUs exist only in Ray's accounting; the trials are processes that wait for each other.
"""

import os
import time

import pytest

from embsweep.config.sweep import RunnerConfig
from embsweep.runners.resources import Machine, plan_slots
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted
from tests.runners.clusters import NodeStart, started_cluster

pytestmark = [pytest.mark.ray, pytest.mark.nightly]

CPUS, GPUS = 8, 4


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with (
        started_cluster(NodeStart(cpus=CPUS, gpus=GPUS)) as started,
        started.joined(tmp_path_factory.mktemp("storage")) as joined,
    ):
        yield joined


HOLD_S = 2.0
"""How long each trial continues after as many as fit have begun, so that one too many would be noticed."""

_BARRIER_TIMEOUT_S = 120


def waiting_trial(folder, at_once):
    """Return a trial function that waits until `at_once` trials have begun, and reports its GPUs and its share of them.

    It is a closure, so that Ray serialises it by value.
    """

    def trial_fn(job, reporter):
        import ray

        context, begin = ray.get_runtime_context(), time.time()
        facts = {"gpus": context.get_accelerator_ids()["GPU"], "share": context.get_assigned_resources().get("GPU", 0)}
        reporter.start(TrialStarted(1, "here", begin, 0.0, 0.0, facts))
        (folder / f"{job.number}.begun").touch()
        while len(list(folder.glob("*.begun"))) < at_once and time.time() < begin + _BARRIER_TIMEOUT_S:
            time.sleep(0.05)
        time.sleep(HOLD_S)
        scores = {64: {"map@100": 0.5}}
        reporter.report(TrialReport(1.0, 1, 1.0, 0.5, 0.5, 1.0, scores, 0.1, 1e-5, time.time()))
        return TrialResult(Outcome.COMPLETE, 0.5, job.folder, time.time())

    return trial_fn


def most_at_once(scheduler):
    spans = [(scheduler.starts[n].started_at, scheduler.results[n].ended_at) for n in scheduler.results]
    return max(sum(begin <= t < end for begin, end in spans) for t, _ in spans)


@pytest.mark.parametrize(
    ("config", "at_once", "share"),
    [
        ({"gpus_per_trial": 1.0}, 4, 1.0),
        ({"gpus_per_trial": 0.5}, 8, 0.5),
        ({"trials_per_gpu": 4, "max_concurrent": 6}, 6, 0.25),
    ],
)
def test_trials_with_one_worker_share_gpus_as_configured(runner, make_scheduler, tmp_path, config, at_once, share):
    slots = plan_slots(RunnerConfig(kind="cluster", **config), [Machine(CPUS, GPUS)])
    assert slots.count == at_once
    scheduler = make_scheduler(at_once + 1)
    runner.use(slots, tmp_path / "scratch")
    runner.run(scheduler, waiting_trial(tmp_path, at_once))
    assert len(scheduler.results) == at_once + 1
    assert most_at_once(scheduler) == at_once, "as many at once as fit, and never one more"
    facts = [started.facts for started in scheduler.starts.values()]
    assert {fact["share"] for fact in facts} == {share}
    assert all(len(fact["gpus"]) == 1 for fact in facts), "a share of one GPU, never of two"
    assert len({fact["gpus"][0] for fact in facts}) >= at_once * share, "no GPU is shared by too many"


def test_two_trials_of_two_gpus_each(runner, make_scheduler, tmp_path):
    slots = plan_slots(RunnerConfig(kind="cluster", workers_per_trial=2), [Machine(CPUS, GPUS)], trials=3)
    assert (slots.count, slots.gpus, slots.workers) == (2, 2.0, 2)
    scheduler = make_scheduler(3)
    runner.use(slots, tmp_path / "scratch")
    runner.run(scheduler, waiting_trial(tmp_path, 2))
    assert {result.outcome for result in scheduler.results.values()} == {Outcome.COMPLETE}
    assert most_at_once(scheduler) == 2
    assert {started.facts["share"] for started in scheduler.starts.values()} == {1.0}, "one GPU per worker"
    assert runner.call(lambda: os.getpid()) != os.getpid()  # noqa: PLW0108 - Ray takes no builtin
