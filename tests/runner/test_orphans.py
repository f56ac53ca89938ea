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
