"""Two drivers on one sweep, and the same name for another one."""

import resource
import signal
import subprocess
import sys

import pytest

from embsweep.search.ledger import read_ledger

from .conftest import TRIALS
from .nursery import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ARGUMENTS = (f"search.trials={TRIALS}",)
NOTICED_S = 5.0


def seconds_of_children():
    """CPU time of the processes that have ended: what they would have taken on a machine of their own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_second_leaves_within_seconds_and_names_the_first(nursery, world, check):
    first = nursery.start(world, *ARGUMENTS, plan={"0": "sleep"})
    first.wait_for("trial 0 at 25%")
    before_s = seconds_of_children()
    command = [sys.executable, ROOT / "run_sweep.py", *world.arguments(*ARGUMENTS)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    took_s = seconds_of_children() - before_s
    assert second.returncode == 2
    assert f"is running already, in process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert took_s < NOTICED_S
    first.send(signal.SIGKILL)
    first.wait()
    check(nursery.run(world, *ARGUMENTS))


def test_a_rival_in_rehearsal_is_another_sweep(nursery, world):
    """Its name is, so that it may run beside."""
    first = nursery.start(world, *ARGUMENTS, plan={"0": "sleep"})
    first.wait_for("trial 0 at 25%")
    left = nursery.run(world, "scale=rehearsal", "search.trials=2", "confirm=none", "matryoshka.dims=[384,64]")
    assert "is running already" not in left.output
    first.send(signal.SIGKILL)
    first.wait()


def test_another_sweep_of_this_name_is_refused_and_a_larger_budget_is_not(nursery, world):
    nursery.run(world, *ARGUMENTS, die=["report", 30])
    for changed in ("train.batch_size=16", "data.split.seed=3", "train.warmup=interval(0.0,0.2)"):
        left = nursery.run(world, *ARGUMENTS, changed)
        assert left.code == 2, left.output
        assert changed.partition("=")[0] in left.output
        assert "differs" in left.output
    left = nursery.run(world, f"search.trials={TRIALS + 2}")
    assert left.code == 0, left.output
    assert len(read_ledger(world.ledger)[1]) == TRIALS + 2
