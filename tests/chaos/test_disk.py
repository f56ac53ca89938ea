"""Full disks and locked databases: reported clearly, the sweep stays readable, and the same command resumes it."""

import os
import subprocess
import sys

import pytest

from embsweep.core.files import is_disk_full_error
from tests.chaos.conftest import FULL, SEARCH, count_trials
from tests.chaos.faults import hold_lock
from tests.chaos.fork_server import ROOT, start_program
from tests.chaos.invariants import check_invariants
from tests.chaos.sandbox import make_sandbox

pytestmark = pytest.mark.slow

LOCKED_S = 8.0
"""Longer than sqlite's default timeout (5 s)."""


@pytest.fixture
def sandbox(tmp_path):
    """A sandbox whose storage is a small disk of its own."""
    sandbox = make_sandbox(tmp_path / "sandbox")
    sandbox.storage.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(sandbox.storage)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield sandbox
    subprocess.run(["umount", "-l", str(sandbox.storage)], check=True)


def read_status(sandbox):
    """Return the finished process of `embsweep status` for the sweep."""
    command = [sys.executable, "-m", "embsweep.cli.commands", "status", "chaos", "--storage", str(sandbox.storage)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


@pytest.mark.usefixtures("search_reference")
@pytest.mark.parametrize(
    ("arguments", "part", "number"),
    [
        (SEARCH, "on_trial_result", 12),
        *(
            pytest.param(FULL, *crash_at, marks=pytest.mark.nightly)
            for crash_at in (
                ("suggest", 30),
                ("checkpoint", 8),
                ("on_trial_result", 30),
                ("on_trial_complete", 5),
                ("registration", 3),
            )
        ),
    ],
)
def test_a_full_disk_ends_the_sweep_gracefully(fork_server, sandbox, check, arguments, part, number):
    ballast = sandbox.storage / "ballast"
    result = fork_server.run(sandbox, *arguments, fill=[part, number, str(ballast)])
    assert result.code == 1, result.output
    assert "Traceback" not in result.output, result.output
    last = result.output.strip().splitlines()[-1]
    assert is_disk_full_error(last), last
    assert "same command" in last or "resume with" in last, last
    status = read_status(sandbox)
    assert status.returncode == 0, status.stderr
    assert f"of {count_trials(arguments)} trials" in status.stdout
    ballast.unlink()
    check(sandbox, *arguments)


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.parametrize("part", ["on_trial_result", "on_trial_complete"])
def test_a_full_disk_ends_the_sweep_gracefully_with_ray(sandbox, check, part):
    """Tune writes to that disk as well, and would treat an error of the scheduler as a failure of the trial."""
    ballast = sandbox.storage / "ballast"
    ray = ("runner=local", "runner.max_concurrent=1")
    result = start_program(sandbox, *FULL, *ray, fill=[part, 12, str(ballast)]).wait()
    assert result.code == 1, result.output
    assert "Traceback" not in result.output, result.output
    assert is_disk_full_error(result.output.strip().splitlines()[-1]), result.output
    assert " failed" not in read_status(sandbox).stdout
    ballast.unlink()
    check(sandbox, *FULL)


@pytest.mark.parametrize("seconds", [LOCKED_S, pytest.param(30.0, marks=pytest.mark.nightly)])
def test_a_driver_waits_for_a_locked_ledger(fork_server, sandbox, seconds):
    arguments = ("search.trials=2", "confirm=none", "eval.fractions=[0.25,1.0]")
    driver = fork_server.start(sandbox, *arguments)
    driver.wait_for("trial 0 at 25%")
    hold_lock(sandbox.ledger, seconds)
    result = driver.wait()
    assert check_invariants(sandbox, code=result.code, trials=2) == [], result.output
