"""What every runner owes its desk, run over each of them."""

import pytest

from embsweep.runner.inline import InlineRunner
from embsweep.runner.slots import Slots
from embsweep.trial.reporter import Outcome

from .conftest import scripted_work

REASONS = {"raise": "RuntimeError: scripted defect", "silent": "without a result", "fail": "scripted failure"}
SLOTS = Slots(count=2, cpus=1, gpus=0.0)


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def runner(request, tmp_path):
    if request.param == "inline":
        return InlineRunner()
    from embsweep.runner.ray_tune import RayRunner

    return RayRunner(SLOTS, tmp_path / "scratch")


def test_every_job_is_reported_and_finished_once(runner, make_desk):
    desk = make_desk(5)
    runner.run(desk, scripted_work())
    assert sorted(desk.results) == sorted(desk.starts) == [0, 1, 2, 3, 4]
    assert {r.outcome for r in desk.results.values()} == {Outcome.COMPLETE}
    for number, reports in desk.reports.items():
        assert [r.fraction for r in reports] == [0.25, 0.5, 1.0]
        assert desk.results[number].best_objective == number
        assert reports[0].scores == {64: {"map@100": float(number)}}


def test_a_stop_ends_the_trial_at_that_report_and_the_others_go_on(runner, make_desk):
    desk = make_desk(4, should_stop=lambda number, report: number == 1 and report.fraction == 0.5)
    runner.run(desk, scripted_work())
    assert [r.fraction for r in desk.reports[1]] == [0.25, 0.5]
    assert desk.results[1].outcome == Outcome.STOPPED
    assert desk.results[1].best_objective == 1.0
    assert {desk.results[n].outcome for n in (0, 2, 3)} == {Outcome.COMPLETE}


@pytest.mark.parametrize("kind", ["raise", "silent", "fail"])
def test_a_trial_that_goes_wrong_fails_with_a_reason_and_the_others_go_on(runner, make_desk, kind):
    desk = make_desk(4)
    runner.run(desk, scripted_work({1: kind}))
    assert sorted(desk.results) == [0, 1, 2, 3]
    assert desk.results[1].outcome == Outcome.FAILED
    assert REASONS[kind] in desk.results[1].reason
    assert {desk.results[n].outcome for n in (0, 2, 3)} == {Outcome.COMPLETE}


def test_nothing_to_do(runner, make_desk):
    desk = make_desk(0)
    runner.run(desk, scripted_work())
    assert desk.results == {}


@pytest.mark.timeout(60)
def test_a_desk_without_jobs_is_left_at_once(runner, make_desk):
    desk = make_desk(0)
    runner.run(desk, scripted_work())
    assert not desk.starts
