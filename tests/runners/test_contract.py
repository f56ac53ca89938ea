"""The contract of every runner: each job is started and completed once in the scheduler, whatever happens to it."""

import pytest

from embsweep.core.errors import DiskFull
from embsweep.runners.inline import InlineRunner
from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome
from tests.doubles import ATTEMPTS, FAULTS, FakeScheduler, scripted_trial

ray = pytest.mark.ray
KINDS = ["inline", pytest.param("ray", marks=ray)]
RUNGS = 4
STOPPED, DIES_ONCE, DIES = 20, 21, 22
ALIVE = dict(enumerate((kind for kind in FAULTS if kind != "interrupt"), start=1))
"""Faults that do not kill the process. An interrupt in this process is the user's."""


@pytest.fixture
def runner(request):
    if request.param == "inline":
        return InlineRunner()
    return request.getfixturevalue("make_ray_runner")(Slots(count=2, cpus=1, gpus=0.0))


def stop_at_half(number, report):
    return number == STOPPED and report.fraction == 0.5


@pytest.fixture(scope="module")
def runs():
    """Schedulers whose runs are finished, by the name of the runner."""
    return {}


@pytest.fixture(params=KINDS)
def scheduler(request, runs, make_config, tmp_path):
    """Scheduler of one run: a good trial, a stopped one and one per fault; with Ray, also some whose process dies."""
    if request.param not in runs:
        plan = dict(ALIVE)
        numbers = [0, *ALIVE, STOPPED]
        if request.param == "ray":
            plan |= {DIES_ONCE: "die once", DIES: "die", max(ALIVE) + 1: "interrupt"}
            numbers += [DIES_ONCE, DIES, max(ALIVE) + 1]
        made = FakeScheduler(make_config().trial, tmp_path, max(numbers) + 1, should_stop=stop_at_half)
        made.queue = [job for job in made.queue if job.number in numbers]
        runner = InlineRunner()
        if request.param == "ray":
            runner = request.getfixturevalue("make_ray_runner")(Slots(count=2, cpus=1, gpus=0.0))
        runner.run(made, scripted_trial(plan, rungs=RUNGS))
        runs[request.param] = made, plan
    return runs[request.param]


def test_a_good_trial_reports_everything_and_completes(scheduler):
    received, _ = scheduler
    assert [report.fraction for report in received.reports[0]] == [0.25, 0.5, 0.75, 1.0]
    assert received.reports[0][2].scores == {64: {"map@100": 3.0}}
    assert (received.results[0].outcome, received.results[0].best_objective) == (Outcome.COMPLETE, float(RUNGS))


def test_every_job_is_started_and_finished_once(scheduler):
    received, _ = scheduler
    assert sorted(received.results) == sorted(received.starts) == sorted(received.jobs)


def test_a_stop_ends_the_trial_at_that_report(scheduler):
    received, _ = scheduler
    assert [report.fraction for report in received.reports[STOPPED]] == [0.25, 0.5]
    assert (received.results[STOPPED].outcome, received.results[STOPPED].best_objective) == (Outcome.STOPPED, 2.0)


def test_a_fault_in_a_trial_is_its_result(scheduler):
    received, plan = scheduler
    for number, kind in plan.items():
        if kind in FAULTS:
            assert received.results[number].outcome == Outcome.FAILED, kind
            assert FAULTS[kind] in received.results[number].reason
            assert number not in received.losses, "its process did not die"


def test_a_process_that_dies_is_started_again(scheduler):
    received, plan = scheduler
    if DIES not in plan:
        assert not received.losses, "trials of this runner have no process of their own"
        return
    assert received.results[DIES_ONCE].outcome == Outcome.COMPLETE
    assert len(received.losses[DIES_ONCE]) == 1
    assert received.results[DIES].outcome == Outcome.FAILED
    assert len(received.losses[DIES]) == ATTEMPTS
    assert set(received.losses) == {DIES_ONCE, DIES}


def test_there_are_no_more_processes_than_slots(scheduler):
    received, _ = scheduler
    deaths = sum(map(len, received.losses.values()))
    assert len({started.pid for started in received.starts.values()}) <= 2 + deaths, (
        "processes of stopped and failed trials are reused"
    )


@pytest.mark.parametrize(
    ("runner", "method"),
    [
        *(("inline", method) for method in ("on_trial_start", "on_trial_result", "on_trial_complete", "suggest")),
        *(pytest.param("ray", method, marks=ray) for method in ("on_trial_result", "on_trial_complete")),
    ],
    indirect=["runner"],
)
def test_an_exception_of_the_scheduler_ends_the_run_and_fails_no_trial(runner, make_scheduler, monkeypatch, method):
    scheduler, calls, full = make_scheduler(3), [], DiskFull("no space for the ledger")
    real = getattr(scheduler, method)

    def fail_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise full
        return real(*arguments)

    monkeypatch.setattr(scheduler, method, fail_at_the_second)
    with pytest.raises(DiskFull) as caught:
        runner.run(scheduler, scripted_trial())
    assert str(caught.value) == str(full)
    assert len(calls) == 2, "a scheduler that has failed is not called again"
    assert not scheduler.losses
    assert {result.outcome for result in scheduler.results.values()} <= {Outcome.COMPLETE}


@pytest.mark.parametrize("runner", KINDS, indirect=True)
def test_a_run_without_jobs_ends_immediately(runner, make_scheduler):
    scheduler = make_scheduler(0)
    runner.run(scheduler, scripted_trial())
    assert not scheduler.starts
    assert not scheduler.results
