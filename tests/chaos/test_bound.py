"""The weights on disk stay bounded, independent of the number of trials."""

import json
import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MANY = int(os.environ.get("CHAOS_BOUND_TRIALS", "40"))


@pytest.mark.parametrize(
    ("trials", "kept", "more"),
    [(6, 1, ("eval.fractions=[0.25,1.0]",)), pytest.param(MANY, 3, (), marks=pytest.mark.nightly)],
)
def test_weights_of_many_trials_stay_bounded(fork_server, sandbox, trials, kept, more):
    """Never more than the kept ones, the recipe's, the running trial's and the ones that are about to replace those."""
    peak = sandbox.root / "peak.json"
    arguments = (f"search.trials={trials}", f"sweep.keep_checkpoints={kept}", f"confirm.finalists={kept}")
    arguments += ("confirm=none", "stopping=none", *more)
    result = fork_server.start(sandbox, *arguments, watch_disk=str(peak)).wait(1700)
    assert result.code == 0, result.output
    most = json.loads(peak.read_text())
    assert most["weights"] <= kept + 1 + 2, most
    assert most["states"] <= 2, most
    assert len(list((sandbox.folder / "trials").glob("*/best"))) <= kept + 1
    assert not list((sandbox.folder / "trials").glob("*/state"))
