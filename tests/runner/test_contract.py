"""What every runner owes its desk, run over each of them."""

import pytest

from embsweep.errors import DiskFull
from embsweep.runner.inline import InlineRunner
from embsweep.runner.slots import Slots
from embsweep.trial.reporter import Outcome

from .conftest import ATTEMPTS, scripted_work

REASONS = {"raise": "RuntimeError: scripted defect", "silent": "without a result", "fail": "scripted failure"}
SLOTS = Slots(count=2, cpus=1, gpus=0.0)
GROUPS = Slots(count=1, cpus=2, gpus=0.0, workers=2)


ray = pytest.mark.ray


@pytest.fixture(params=["inline", pytest.param("ray", marks=ray), pytest.param("group", marks=[ray, pytest.mark.slow])])
def runner(request, tmp_path):
    if request.param == "inline":
        return InlineRunner()
    from embsweep.runner.ray_tune import RayRunner

    return RayRunner(SLOTS if request.param == "ray" else GROUPS, tmp_path / "scratch")


def test_every_job_is_reported_and_finished_once(runner, make_desk):
    desk = make_desk(3)
    runner.run(desk, scripted_work())
    assert sorted(desk.results) == sorted(desk.starts) == [0, 1, 2]
    assert {r.outcome for r in desk.results.values()} == {Outcome.COMPLETE}
    for number, reports in desk.reports.items():
        assert [r.fraction for r in reports] == [0.25, 0.5, 1.0]
        assert desk.results[number].best_objective == number
        assert reports[0].scores == {64: {"map@100": float(number)}}


def test_a_stop_ends_the_trial_at_that_report_and_the_others_go_on(runner, make_desk):
    desk = make_desk(3, should_stop=lambda number, report: number == 1 and report.fraction == 0.5)
    runner.run(desk, scripted_work())
    assert [r.fraction for r in desk.reports[1]] == [0.25, 0.5]
    assert desk.results[1].outcome == Outcome.STOPPED
    assert desk.results[1].best_objective == 1.0
    assert {desk.results[n].outcome for n in (0, 2)} == {Outcome.COMPLETE}


def test_trials_that_go_wrong_fail_with_their_reasons_and_the_others_go_on(runner, make_desk):
    desk = make_desk(len(REASONS) + 1)
    kinds = dict(enumerate(REASONS))
    runner.run(desk, scripted_work(kinds))
    assert sorted(desk.results) == [*kinds, len(REASONS)]
    for number, kind in kinds.items():
        assert desk.results[number].outcome == Outcome.FAILED
        assert REASONS[kind] in desk.results[number].reason
    assert desk.results[len(REASONS)].outcome == Outcome.COMPLETE


def test_a_process_that_dies_is_started_again_and_the_others_go_on(runner, make_desk):
    if isinstance(runner, InlineRunner):
        pytest.skip("its trials have no process of their own")
    desk = make_desk(3)
    runner.run(desk, scripted_work({1: "die once", 2: "die"}))
    assert desk.results[0].outcome == desk.results[1].outcome == Outcome.COMPLETE
    assert len(desk.losses[1]) == 1
    assert desk.results[2].outcome == Outcome.FAILED
    assert "died" in desk.results[2].reason
    assert len(desk.losses[2]) == ATTEMPTS


@pytest.mark.ray
@pytest.mark.parametrize(
    ("runner", "method"),
    [(kind, method) for kind in ("inline", "ray") for method in ("started", "report", "finished", "next_job")],
    indirect=["runner"],
)
def test_what_the_desk_raises_ends_the_run_and_blames_no_trial(runner, make_desk, monkeypatch, method):
    desk, calls = make_desk(3), []
    real = getattr(desk, method)

    def fail_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise DiskFull("no room for the ledger")
        return real(*arguments)

    monkeypatch.setattr(desk, method, fail_at_the_second)
    with pytest.raises(DiskFull, match="no room for the ledger"):
        runner.run(desk, scripted_work())
    assert len(calls) == 2, "nobody asks a desk that has failed"
    assert not desk.losses
    assert {result.outcome for result in desk.results.values()} <= {Outcome.COMPLETE}


def test_nothing_to_do(runner, make_desk):
    desk = make_desk(0)
    runner.run(desk, scripted_work())
    assert desk.results == {}


@pytest.mark.timeout(60)
def test_a_desk_without_jobs_is_left_at_once(runner, make_desk):
    desk = make_desk(0)
    runner.run(desk, scripted_work())
    assert not desk.starts
