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
def winner(fork_server, world_at):
    """The trial that wins when nothing happens to its weights."""
    sandbox = world_at("finalization", *SEARCH_ALONE)
    assert fork_server.run(sandbox, *SEARCH_ALONE).code == 0
    return read_facts(sandbox)["winner"]


@pytest.mark.parametrize(
    "corrupt_with",
    [cut, pytest.param(zero, marks=NIGHTLY), pytest.param(lose_the_manifest, marks=NIGHTLY)],
)
def test_another_stands_in_for_the_winner(fork_server, world_at, winner, corrupt_with):
    sandbox = world_at("finalization", *SEARCH_ALONE)
    weights = sandbox.folder / "trials" / f"{winner:04d}" / "best"
    corrupt_with(weights)
    left = fork_server.run(sandbox, *SEARCH_ALONE)
    assert check_invariants(sandbox, code=left.code, trials=count_trials(SMALL)) == [], left.output
    evidence = json.loads((sandbox.folder / "evidence.json").read_text())
    assert evidence["verdict"]["winner"] != winner
    assert f"trial {winner} cannot win: " in left.output
    assert "manifest.json" in left.output
    assert weights.with_name(QUARANTINE).is_dir()
    assert not weights.exists()


@pytest.mark.usefixtures("small_unbroken")
def test_the_searchs_own_weights_stand_in_for_torn_ones_of_the_confirmation(fork_server, world_at, unbroken_of):
    sandbox = world_at("finalization", *SMALL)
    kept = list((sandbox.folder / "confirmation").glob("*/best"))
    for folder in kept:
        cut(folder)
    left = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=left.code, trials=count_trials(SMALL)) == [], left.output
    assert left.output.count("cannot win") == len(kept) > 0
    assert read_facts(sandbox)["winner"] == unbroken_of(SMALL)["winner"], (
        "who won is decided by scores, which are in the ledger"
    )
