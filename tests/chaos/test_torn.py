"""Weights of a finished trial that a crash or a disk has spoiled: they cannot win, and that is said."""

import json

import pytest

from embsweep.sweep.torn import ASIDE

from .conftest import TRIALS
from .invariants import check_invariants, read_facts
from .world import make_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BUDGET = f"search.trials={TRIALS}"
SEARCH_ALONE = (BUDGET, "confirm=none", "stopping=none")


def cut(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])


def zero(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(bytes(file.stat().st_size))


def lose_the_manifest(folder):
    (folder / "manifest.json").unlink()


@pytest.fixture(scope="module")
def winner(nursery, tmp_path_factory):
    """The trial that wins when nothing happens to its weights."""
    world = make_world(tmp_path_factory.mktemp("whole"))
    assert nursery.run(world, *SEARCH_ALONE).code == 0
    return read_facts(world)["winner"]


@pytest.mark.parametrize("spoil", [cut, zero, lose_the_manifest])
def test_another_stands_in_for_the_winner(nursery, world, winner, spoil):
    assert nursery.run(world, *SEARCH_ALONE, die=["crowning", 1]).code == -9
    weights = world.folder / "trials" / f"{winner:04d}" / "best"
    spoil(weights)
    left = nursery.run(world, *SEARCH_ALONE)
    assert check_invariants(world, code=left.code, trials=TRIALS) == [], left.output
    evidence = json.loads((world.folder / "evidence.json").read_text())
    assert evidence["verdict"]["winner"] != winner
    assert f"trial {winner} cannot win: " in left.output
    assert "manifest.json" in left.output
    assert weights.with_name(ASIDE).is_dir()
    assert not weights.exists()


def test_the_searchs_own_weights_stand_in_for_torn_ones_of_the_confirmation(nursery, world, unbroken):
    assert nursery.run(world, BUDGET, die=["crowning", 1]).code == -9
    kept = list((world.folder / "confirmation").glob("*/best"))
    for folder in kept:
        cut(folder)
    left = nursery.run(world, BUDGET)
    assert check_invariants(world, code=left.code, trials=TRIALS) == [], left.output
    assert left.output.count("cannot win") == len(kept) > 0
    assert read_facts(world)["winner"] == unbroken["winner"], "who won is decided by scores, which are in the ledger"
