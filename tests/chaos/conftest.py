"""One nursery, the undisturbed sweeps, and sweeps laid out as they were after their search, for all tests here."""

import functools
import os
import random
import shutil
import sys

import pytest

from tests.chaos.fork_server import ForkServer
from tests.chaos.invariants import check_invariants, read_facts
from tests.chaos.sandbox import Sandbox, make_world

SMALL = ("search.trials=3", "confirm.finalists=1", "eval.fractions=[0.25,1.0]")
"""The sweep of the day: it has every part, and takes a third of the time of `FULL`."""

FULL = ("search.trials=6",)
SEARCH = (*SMALL, "confirm=none")
SEARCH_ALONE = (*SEARCH, "stopping=none")


@pytest.fixture(scope="session")
def fork_server():
    import mlflow  # noqa: F401 - what checks a world needs it: paid before the first test

    with ForkServer() as found:
        yield found


@pytest.fixture(scope="session")
def make_seeded(seed_storage):
    """`make_world`, with an MLflow database that has all its tables already."""

    def make(root):
        sandbox = make_world(root)
        seed_storage(sandbox.storage)
        return sandbox

    return make


@pytest.fixture(scope="session")
def unbroken_of(fork_server, make_seeded, tmp_path_factory):
    """`unbroken_of(arguments)`: what a sweep of these finds when nothing happens to it; run once."""

    @functools.cache
    def run(arguments):
        sandbox = make_seeded(tmp_path_factory.mktemp("unbroken"))
        left = fork_server.run(sandbox, *arguments)
        assert check_invariants(sandbox, code=left.code, trials=count_trials(arguments)) == [], left.output
        return read_facts(sandbox)

    return run


@pytest.fixture(scope="session")
def small_unbroken(unbroken_of):
    """`SMALL` has run without a fault before the test begins."""
    unbroken_of(SMALL)


@pytest.fixture(scope="session")
def small_crowning(world_at):
    """`SMALL` has come to its crowning before the test begins: what `world_at` lays out is a copy."""
    world_at("finalization", *SMALL)


@pytest.fixture(scope="session")
def search_unbroken(unbroken_of):
    """So has `SEARCH`."""
    unbroken_of(SEARCH)


def count_trials(arguments):
    """The budget in these arguments."""
    (found,) = (a.partition("=")[2] for a in arguments if a.startswith("search.trials="))
    return int(found)


@pytest.fixture
def sandbox(tmp_path, make_seeded):
    return make_seeded(tmp_path / "world")


@pytest.fixture(scope="session")
def world_at(fork_server, make_seeded, tmp_path_factory):
    """`world_at(part, *arguments)`: a sweep whose driver was killed when it entered `part`.

    It is run once and laid out again for each test, always in the same place: its records hold absolute paths.
    """
    root = tmp_path_factory.mktemp("stage")
    here, copies = root / "world", {}

    def lay_out(part, *arguments):
        key = (part, arguments)
        if key not in copies:
            if part == "finalization" and "confirm=none" not in arguments:
                sandbox = lay_out("confirmation", *arguments)
            else:
                shutil.rmtree(here, ignore_errors=True)
                sandbox = make_seeded(here)
            left = fork_server.run(sandbox, *arguments, die=[part, 1])
            assert left.code == -9, left.output
            copies[key] = root / f"{len(copies)}-{part}"
            shutil.copytree(here, copies[key])
        shutil.rmtree(here)
        shutil.copytree(copies[key], here)
        return Sandbox(here.resolve())

    return lay_out


@pytest.fixture
def new_seed():
    """Another one each time; pytest shows it where the test fails. `CHAOS_SEED` in the environment repeats one."""
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    sys.stdout.write(f"CHAOS_SEED={seed}\n")
    return seed


@pytest.fixture
def check(fork_server, unbroken_of):
    """`check(world, *arguments)`: the same command ends the sweep, and every invariant holds."""

    def run(sandbox, *arguments, **settings):
        left = fork_server.run(sandbox, *arguments, **settings)
        problems = check_invariants(sandbox, unbroken_of(arguments), code=left.code, trials=count_trials(arguments))
        assert problems == [], left.output

    return run
