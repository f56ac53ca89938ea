"""A verdict stays the same, however often the driver dies before it is recorded."""

import json

import pytest

from tests.chaos.conftest import SMALL, count_trials
from tests.chaos.invariants import check_invariants, read_facts
from tests.chaos.sandbox import NAME

pytestmark = pytest.mark.slow


def versions_of(sandbox):
    return sandbox.open_mlflow().search_model_versions(f"name = '{NAME}'")


def test_a_run_that_failed_for_a_temporary_reason_does_not_make_a_second_winner(fork_server, sandbox_at):
    """The version is registered, but the ledger does not mark the sweep as finished; meanwhile the fault is gone."""
    sandbox = sandbox_at("confirmation", *SMALL)
    result = fork_server.run(sandbox, *SMALL, plan={"confirmation 0": "raise"}, die=["evidence", 5])
    assert result.code == -9
    assert len(versions_of(sandbox)) == 1
    winner = json.loads((sandbox.folder / "evidence.json").read_text())["verdict"]["winner"]
    result = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=result.code, trials=count_trials(SMALL)) == [], result.output
    assert json.loads((sandbox.folder / "evidence.json").read_text())["verdict"]["winner"] == winner
    assert len(versions_of(sandbox)) == 1


@pytest.mark.usefixtures("small_reference")
def test_corrupt_values_of_a_confirmation_run_are_measured_again(fork_server, sandbox_at, reference_of):
    sandbox = sandbox_at("finalization", *SMALL)
    (sandbox.folder / "confirmation" / "0000" / "per_query.npz").write_bytes(b"")
    result = fork_server.run(sandbox, *SMALL)
    assert check_invariants(sandbox, code=result.code, trials=count_trials(SMALL)) == [], result.output
    assert "is run again: " in result.output
    assert "per_query.npz: cannot be read" in result.output
    assert read_facts(sandbox)["winner"] == reference_of(SMALL)["winner"]
    assert read_facts(sandbox)["test"] == reference_of(SMALL)["test"]
