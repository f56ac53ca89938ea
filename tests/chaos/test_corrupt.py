"""Weights of a finished trial that a crash or a disk has spoiled: they cannot win, and that is said."""

import json

import pytest

from embsweep.sweep.checkpoints import QUARANTINE
from tests.chaos.conftest import SEARCH_ALONE, SMALL, count_trials
from tests.chaos.invariants import check_invariants, read_facts

NIGHTLY = pytest.mark.nightly
pytestmark = pytest.mark.slow


def cut(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])


def zero(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(bytes(file.stat().st_size))


def lose_the_manifest(folder):
    (folder / "manifest.json").unlink()


@pytest.fixture(scope="module")
def winner(nursery, world_at):
    """The trial that wins when nothing happens to its weights."""
    world = world_at("crowning", *SEARCH_ALONE)
    assert nursery.run(world, *SEARCH_ALONE).code == 0
    return read_facts(world)["winner"]


@pytest.mark.parametrize(
    "spoil",
    [cut, pytest.param(zero, marks=NIGHTLY), pytest.param(lose_the_manifest, marks=NIGHTLY)],
)
def test_another_stands_in_for_the_winner(nursery, world_at, winner, spoil):
    world = world_at("crowning", *SEARCH_ALONE)
    weights = world.folder / "trials" / f"{winner:04d}" / "best"
    spoil(weights)
    left = nursery.run(world, *SEARCH_ALONE)
    assert check_invariants(world, code=left.code, trials=count_trials(SMALL)) == [], left.output
    evidence = json.loads((world.folder / "evidence.json").read_text())
    assert evidence["verdict"]["winner"] != winner
    assert f"trial {winner} cannot win: " in left.output
    assert "manifest.json" in left.output
    assert weights.with_name(QUARANTINE).is_dir()
    assert not weights.exists()


@pytest.mark.usefixtures("small_unbroken")
def test_the_searchs_own_weights_stand_in_for_torn_ones_of_the_confirmation(nursery, world_at, unbroken_of):
    world = world_at("crowning", *SMALL)
    kept = list((world.folder / "confirmation").glob("*/best"))
    for folder in kept:
        cut(folder)
    left = nursery.run(world, *SMALL)
    assert check_invariants(world, code=left.code, trials=count_trials(SMALL)) == [], left.output
    assert left.output.count("cannot win") == len(kept) > 0
    assert read_facts(world)["winner"] == unbroken_of(SMALL)["winner"], (
        "who won is decided by scores, which are in the ledger"
    )
