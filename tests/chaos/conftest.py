"""One nursery and one undisturbed sweep for all tests here."""

import pytest

from .invariants import check_invariants, read_facts
from .nursery import Nursery
from .world import make_world

TRIALS = 6


@pytest.fixture(scope="session")
def nursery():
    with Nursery() as found:
        yield found


@pytest.fixture(scope="session")
def unbroken(nursery, tmp_path_factory):
    """What a sweep of six trials finds when nothing happens to it."""
    world = make_world(tmp_path_factory.mktemp("unbroken"))
    left = nursery.run(world, f"search.trials={TRIALS}")
    assert check_invariants(world, code=left.code, trials=TRIALS) == [], left.output
    return read_facts(world)


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path / "world")


@pytest.fixture
def check(world, unbroken):
    """`check(left)`: the sweep has ended with this last life of its driver, and every invariant holds."""

    def run(left):
        assert check_invariants(world, unbroken, code=left.code, trials=TRIALS) == [], left.output

    return run
