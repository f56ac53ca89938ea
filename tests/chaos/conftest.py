"""Fixtures shared by all chaos tests: the fork server, reference sweeps without faults, and partly finished sweeps."""

import functools
import os
import random
import shutil
import sys

import pytest

from tests.chaos.fork_server import ForkServer
from tests.chaos.invariants import check_invariants, read_facts
from tests.chaos.sandbox import Sandbox, make_sandbox

SMALL = ("search.trials=3", "confirm.finalists=1", "eval.fractions=[0.25,1.0]")
"""The sweep of the daily tests: it has every part, and takes a third of the time of `FULL`."""

FULL = ("search.trials=6",)
SEARCH = (*SMALL, "confirm=none")
SEARCH_ALONE = (*SEARCH, "stopping=none")


@pytest.fixture(scope="session")
def fork_server():
    import mlflow  # noqa: F401 - needed to check a sandbox: imported before the first test is timed

    with ForkServer() as server:
        yield server


@pytest.fixture(scope="session")
def make_seeded_sandbox(seed_storage):
    """Return `make(root)`: `make_sandbox`, with an MLflow database that already has all its tables."""

    def make(root):
        sandbox = make_sandbox(root)
        seed_storage(sandbox.storage)
        return sandbox

    return make


@pytest.fixture(scope="session")
def reference_of(fork_server, make_seeded_sandbox, tmp_path_factory):
    """Return `run(arguments)`: the facts of a sweep with these arguments and no fault; each is run once."""

    @functools.cache
    def run(arguments):
        sandbox = make_seeded_sandbox(tmp_path_factory.mktemp("reference"))
        result = fork_server.run(sandbox, *arguments)
        assert check_invariants(sandbox, code=result.code, trials=count_trials(arguments)) == [], result.output
        return read_facts(sandbox)

    return run


@pytest.fixture(scope="session")
def small_reference(reference_of):
    """Run `SMALL` without a fault before the test begins."""
    reference_of(SMALL)


@pytest.fixture(scope="session")
def small_finalization(sandbox_at):
    """Run `SMALL` up to its finalization before the test begins, so that `sandbox_at` only copies it."""
    sandbox_at("finalization", *SMALL)


@pytest.fixture(scope="session")
def search_reference(reference_of):
    """Run `SEARCH` without a fault before the test begins."""
    reference_of(SEARCH)


def count_trials(arguments):
    """Return the value of `search.trials` in these arguments."""
    (value,) = (a.partition("=")[2] for a in arguments if a.startswith("search.trials="))
    return int(value)


@pytest.fixture
def sandbox(tmp_path, make_seeded_sandbox):
    return make_seeded_sandbox(tmp_path / "sandbox")


@pytest.fixture(scope="session")
def sandbox_at(fork_server, make_seeded_sandbox, tmp_path_factory):
    """Return `restore(part, *arguments)`: the sandbox of a sweep whose driver was killed when it entered `part`.

    The sweep is run once and copied for each test, always to the same path: its records contain absolute paths.
    """
    root = tmp_path_factory.mktemp("restored")
    here, copies = root / "sandbox", {}

    def restore(part, *arguments):
        key = (part, arguments)
        if key not in copies:
            if part in ("test", "finalization") and "confirm=none" not in arguments:
                sandbox = restore("confirmation", *arguments)
            else:
                shutil.rmtree(here, ignore_errors=True)
                sandbox = make_seeded_sandbox(here)
            result = fork_server.run(sandbox, *arguments, die=[part, 1])
            assert result.code == -9, result.output
            copies[key] = root / f"{len(copies)}-{part}"
            shutil.copytree(here, copies[key])
        shutil.rmtree(here)
        shutil.copytree(copies[key], here)
        return Sandbox(here.resolve())

    return restore


@pytest.fixture
def new_seed():
    """Return a random seed, which pytest prints if the test fails. `CHAOS_SEED` in the environment repeats one."""
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    sys.stdout.write(f"CHAOS_SEED={seed}\n")
    return seed


@pytest.fixture
def check(fork_server, reference_of):
    """Return `run(sandbox, *arguments)`, which finishes the sweep with the same command and checks all invariants."""

    def run(sandbox, *arguments, **settings):
        result = fork_server.run(sandbox, *arguments, **settings)
        problems = check_invariants(sandbox, reference_of(arguments), code=result.code, trials=count_trials(arguments))
        assert problems == [], result.output

    return run
