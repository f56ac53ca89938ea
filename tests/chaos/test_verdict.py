"""What was decided stays decided, however often the driver dies before it is on record."""

import json
import shutil

import pytest

from tests.chaos.conftest import FULL, SMALL, count_trials
from tests.chaos.invariants import check_invariants, read_facts
from tests.chaos.sandbox import NAME

pytestmark = pytest.mark.slow


def versions_of(sandbox):
    return sandbox.open_mlflow().search_model_versions(f"name = '{NAME}'")


def test_a_run_that_failed_for_a_passing_reason_does_not_make_a_second_winner(fork_server, world_at):
    """The version is there, the note in the ledger that would end the sweep is not; the fault has passed meanwhile."""
    sandbox = world_at("confirmation", *SMALL)
    left = fork_server.run(sandbox, *SMALL, plan={"confirmation 0": "raise"}, die=["close", 1])
    assert left.code == -9
    assert len(versions_of(sandbox)) == 1
    winner = json.loads((sandbox.folder / "evidence.json").read_text())["verdict"]["winner"]
    left = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=left.code, trials=count_trials(SMALL)) == [], left.output
    assert json.loads((sandbox.folder / "evidence.json").read_text())["verdict"]["winner"] == winner
    assert len(versions_of(sandbox)) == 1


@pytest.mark.usefixtures("small_unbroken")
def test_torn_values_of_a_confirmation_run_are_measured_again(fork_server, world_at, unbroken_of):
    sandbox = world_at("finalization", *SMALL)
    (sandbox.folder / "confirmation" / "0000" / "per_query.npz").write_bytes(b"")
    left = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=left.code, trials=count_trials(SMALL)) == [], left.output
    assert "is run again: " in left.output
    assert "per_query.npz: cannot be read" in left.output
    assert read_facts(sandbox)["winner"] == unbroken_of(SMALL)["winner"]
    assert read_facts(sandbox)["test"] == unbroken_of(SMALL)["test"]


def cut(size):
    return lambda path: path.write_bytes(path.read_bytes()[:-size])


@pytest.mark.nightly
@pytest.mark.parametrize("corrupt_with", [cut(20), cut(5000), lambda path: shutil.rmtree(path.parent)])
def test_what_the_outbox_has_lost_is_told_again(fork_server, sandbox, check, corrupt_with):
    """Its last lines, delivered or not, told what the trials did and how they ended."""
    for _ in range(3):
        left = fork_server.run(sandbox, *FULL, die=["on_trial_complete", 25])
        assert left.code in (-9, 0)
        corrupt_with(sandbox.folder / "outbox" / "entries.jsonl")
    check(sandbox, *FULL)
