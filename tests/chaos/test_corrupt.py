"""Corrupt weights of a finished trial cannot win, and the sweep reports that."""

import json

import pytest

from embsweep.sweep.context import QUARANTINE
from tests.chaos.conftest import SEARCH_ALONE, SMALL, count_trials
from tests.chaos.invariants import check_invariants, read_facts

NIGHTLY = pytest.mark.nightly
pytestmark = pytest.mark.slow


def truncate(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])


def zero(folder):
    (file,) = folder.glob("**/*.safetensors")
    file.write_bytes(bytes(file.stat().st_size))


def remove_the_manifest(folder):
    (folder / "manifest.json").unlink()


@pytest.fixture(scope="module")
def winner(fork_server, sandbox_at):
    """The trial that wins if its weights are intact."""
    sandbox = sandbox_at("finalization", *SEARCH_ALONE)
    assert fork_server.run(sandbox, *SEARCH_ALONE).code == 0
    return read_facts(sandbox)["winner"]


@pytest.mark.parametrize(
    "corrupt_with",
    [truncate, pytest.param(zero, marks=NIGHTLY), pytest.param(remove_the_manifest, marks=NIGHTLY)],
)
def test_another_trial_wins_if_the_winners_weights_are_corrupt(fork_server, sandbox_at, winner, corrupt_with):
    sandbox = sandbox_at("finalization", *SEARCH_ALONE)
    weights = sandbox.folder / "trials" / f"{winner:04d}" / "best"
    corrupt_with(weights)
    result = fork_server.run(sandbox, *SEARCH_ALONE)
    assert check_invariants(sandbox, code=result.code, trials=count_trials(SMALL)) == [], result.output
    evidence = json.loads((sandbox.folder / "evidence.json").read_text())
    assert evidence["verdict"]["winner"] != winner
    assert f"trial {winner} cannot win: " in result.output
    assert "manifest.json" in result.output
    assert weights.with_name(QUARANTINE).is_dir()
    assert not weights.exists()


@pytest.mark.usefixtures("small_reference")
def test_weights_of_the_search_replace_corrupt_ones_of_the_confirmation(fork_server, sandbox_at, reference_of):
    sandbox = sandbox_at("finalization", *SMALL)
    kept = list((sandbox.folder / "confirmation").glob("*/best"))
    for folder in kept:
        truncate(folder)
    result = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=result.code, trials=count_trials(SMALL)) == [], result.output
    assert result.output.count("cannot win") == len(kept) > 0
    assert read_facts(sandbox)["winner"] == reference_of(SMALL)["winner"], (
        "the winner is decided by scores, which are in the ledger"
    )
