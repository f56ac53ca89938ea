"""One real sweep through the command line, shared by the end-to-end tests."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("data.packages=[stdlib]", "data.max_pairs=900", "eval.fractions=[0.5,1.0]")


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    output: str


def run_sweep(storage, *arguments):
    """`python run_sweep.py …` as a user types it, but with state under `storage`."""
    command = [sys.executable, str(ROOT / "run_sweep.py"), f"storage.path={storage}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    return Ran(done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr))


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory):
    """A quickstart of 5 trials on little data, through Ray, with its storage folder."""
    storage = tmp_path_factory.mktemp("storage")
    ran = run_sweep(storage, *SMALL, "search.trials=5", "sweep.name=e2e")
    assert ran.code == 0, ran.output
    return storage, ran
