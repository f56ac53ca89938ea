"""What only the Ray runner can do: real concurrency, warm processes, workers that die."""

import pytest

from embsweep.runner.ray_tune import RayRunner
from embsweep.runner.slots import Slots
from embsweep.trial.reporter import Outcome

from .conftest import scripted_work

pytestmark = pytest.mark.ray


@pytest.fixture
def runner(tmp_path):
    return RayRunner(Slots(count=2, cpus=1, gpus=0.0), tmp_path / "scratch")


def spans(desk):
    return {n: (desk.starts[n].started_at, desk.results[n].ended_at) for n in desk.results}


def test_two_trials_run_at_once_in_two_warm_processes(runner, make_desk):
    desk = make_desk(8)
    runner.run(desk, scripted_work(pause_s=0.4))
    times = sorted(spans(desk).values())
    most = max(sum(begin <= t < end for begin, end in times) for t, _ in times)
    assert most == 2, "exactly as many at once as there are slots"
    assert len({s.pid for s in desk.starts.values()}) == 2, "a process a slot, reused"
    assert {s.facts["threads"] for s in desk.starts.values()} == {"1"}, "threads pinned to the slot's CPUs"


def test_a_process_survives_a_stopped_trial(runner, make_desk):
    desk = make_desk(6, should_stop=lambda number, report: number % 2 == 1)
    runner.run(desk, scripted_work())
    assert sum(r.outcome == Outcome.STOPPED for r in desk.results.values()) == 3
    assert len({s.pid for s in desk.starts.values()}) <= 2, "no process more than there are slots"


def test_scratch_is_gone_afterwards(runner, make_desk, tmp_path):
    runner.run(make_desk(1), scripted_work())
    assert not (tmp_path / "scratch").exists()
