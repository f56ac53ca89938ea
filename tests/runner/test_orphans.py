"""The process that speaks for a trial's workers dies: their place is given back, and the trial goes on."""

import os
import signal

import pytest

from embsweep.runner.ray_tune import RayRunner
from embsweep.runner.slots import Slots
from embsweep.trial.reporter import Outcome

from .conftest import FakeDesk, scripted_work

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class KillingDesk(FakeDesk):
    """Kills the process that Tune runs the trial in, once, as soon as the trial has started."""

    killed = 0

    def started(self, number, started):
        super().started(number, started)
        if self.killed:
            return
        import psutil  # Ray brings its own and puts it on the path

        for process in psutil.Process().children(recursive=True):
            if process.name().startswith("ray::Implicit"):
                os.kill(process.pid, signal.SIGKILL)
                self.killed += 1


def test_a_dead_driver_of_a_trial_does_not_hold_the_place_of_its_workers(make_config, tmp_path):
    desk = KillingDesk(make_config().trial, tmp_path, 1)
    runner = RayRunner(Slots(count=1, cpus=2, gpus=0.0, workers=2), tmp_path / "scratch")
    runner.run(desk, scripted_work(pause_s=0.5))
    assert desk.killed
    assert len(desk.losses[0]) == 1
    assert desk.results[0].outcome == Outcome.COMPLETE, "there is room for one trial only: the first one's"


def test_a_stopped_trial_gives_the_place_of_its_workers_back_at_once(make_desk, tmp_path):
    """Also where no later trial takes its process over: a lost node may leave room for fewer than were planned.

    And after the last one, when the winner is to be proved.
    """
    import ray

    from embsweep.runner.elsewhere import call_on_cluster

    slots = Slots(count=2, cpus=2, gpus=0.0, workers=2)

    ray.shutdown()  # an earlier test's
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        desk = make_desk(2, should_stop=lambda number, report: report.fraction == 0.25)
        RayRunner(slots, tmp_path / "scratch").run(desk, scripted_work())
        assert call_on_cluster(slots, max, 1, 2) == 2
    finally:
        ray.shutdown()  # it has room for nobody else
    assert [result.outcome for result in desk.results.values()] == [Outcome.STOPPED] * 2
