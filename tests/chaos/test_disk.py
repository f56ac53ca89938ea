"""Full disks and held databases: said in plain words, readable all the same, and the same command goes on."""

import os
import subprocess
import sys

import pytest

from embsweep.core.files import is_disk_full_error
from tests.chaos.conftest import FULL, SEARCH, count_trials
from tests.chaos.faults import hold_lock
from tests.chaos.invariants import check_invariants
from tests.chaos.nursery import ROOT, start_program
from tests.chaos.world import make_world

pytestmark = pytest.mark.slow

HELD_S = 8.0
"""More than sqlite waits where nobody tells it how long (5 s)."""


@pytest.fixture
def world(tmp_path):
    """Its storage is a small disk of its own."""
    world = make_world(tmp_path / "world")
    world.storage.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(world.storage)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield world
    subprocess.run(["umount", "-l", str(world.storage)], check=True)


def read_status(world):
    """What `embsweep status` says of the sweep."""
    command = [sys.executable, "-m", "embsweep.cli.commands", "status", "chaos", "--storage", str(world.storage)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


@pytest.mark.usefixtures("search_unbroken")
@pytest.mark.parametrize(
    ("arguments", "part", "number"),
    [
        (SEARCH, "report", 12),
        *(
            pytest.param(FULL, *aim, marks=pytest.mark.nightly)
            for aim in (("next_job", 30), ("checkpoint", 8), ("report", 30), ("finished", 5), ("registration", 3))
        ),
    ],
)
def test_a_full_disk_ends_the_sweep_in_order(nursery, world, check, arguments, part, number):
    ballast = world.storage / "ballast"
    left = nursery.run(world, *arguments, fill=[part, number, str(ballast)])
    assert left.code == 1, left.output
    assert "Traceback" not in left.output, left.output
    last = left.output.strip().splitlines()[-1]
    assert is_disk_full_error(last), last
    assert "same command" in last or "go on with" in last, last
    status = read_status(world)
    assert status.returncode == 0, status.stderr
    assert f"of {count_trials(arguments)} trials" in status.stdout
    ballast.unlink()
    check(world, *arguments)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("part", ["report", "finished"])
def test_with_ray_too(world, check, part):
    """Where Tune writes to that disk as well, and would blame the trial for what the desk raises."""
    ballast = world.storage / "ballast"
    ray = ("runner=local", "runner.max_concurrent=1")
    left = start_program(world, *FULL, *ray, fill=[part, 12, str(ballast)]).wait()
    assert left.code == 1, left.output
    assert "Traceback" not in left.output, left.output
    assert is_disk_full_error(left.output.strip().splitlines()[-1]), left.output
    assert " failed" not in read_status(world).stdout
    ballast.unlink()
    check(world, *FULL)


@pytest.mark.parametrize("seconds", [HELD_S, pytest.param(30.0, marks=pytest.mark.nightly)])
def test_a_ledger_that_is_held_is_waited_for(nursery, world, seconds):
    arguments = ("search.trials=2", "confirm=none", "eval.fractions=[0.25,1.0]")
    driver = nursery.start(world, *arguments)
    driver.wait_for("trial 0 at 25%")
    hold_lock(world.ledger, seconds)
    left = driver.wait()
    assert check_invariants(world, code=left.code, trials=2) == [], left.output
