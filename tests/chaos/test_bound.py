"""The weights on disk stay bounded, independent of the number of trials."""

import json
import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MANY = int(os.environ.get("CHAOS_BOUND_TRIALS", "40"))


@pytest.mark.parametrize(
    ("trials", "kept", "paused", "more"),
    [
        (6, 1, 0, ("stopping=none", "eval.fractions=[0.25,1.0]")),
        pytest.param(MANY, 3, 0, ("stopping=none",), marks=pytest.mark.nightly),
        pytest.param(MANY, 3, 4, ("stopping=promotion", "stopping.paused_states=4"), marks=pytest.mark.nightly),
    ],
)
def test_weights_of_many_trials_stay_bounded(fork_server, sandbox, trials, kept, paused, more):
    """As docs/faults.md has it: those that are kept, the recipe's, the running trial's, and those of paused trials."""
    peak = sandbox.root / "peak.json"
    arguments = (f"search.trials={trials}", f"sweep.keep_checkpoints={kept}", f"confirm.finalists={kept}")
    result = fork_server.start(sandbox, *arguments, "confirm=none", *more, watch_disk=str(peak)).wait(1700)
    assert result.code == 0, result.output
    most = json.loads(peak.read_text())
    assert most["weights"] <= kept + 1 + 2 + paused, most
    assert most["states"] <= 2 + paused, most
    assert (most["states"] > 2) is (paused > 0), "the states of paused trials are used"
    assert len(list((sandbox.folder / "trials").glob("*/best"))) <= kept + 1
    assert not list((sandbox.folder / "trials").glob("*/state"))
