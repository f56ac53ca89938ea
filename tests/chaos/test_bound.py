"""Weights on disk stay bounded, however many trials there are."""

import json
import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MANY = int(os.environ.get("CHAOS_BOUND_TRIALS", "40"))


@pytest.mark.parametrize(
    ("trials", "kept", "more"),
    [(6, 1, ("eval.fractions=[0.25,1.0]",)), pytest.param(MANY, 3, (), marks=pytest.mark.nightly)],
)
def test_the_weights_of_many_trials(fork_server, sandbox, trials, kept, more):
    """At no moment more than the kept ones, the recipe's and two besides: the running one, and what takes its place."""
    peak = sandbox.root / "peak.json"
    arguments = (f"search.trials={trials}", f"sweep.keep_checkpoints={kept}", f"confirm.finalists={kept}")
    arguments += ("confirm=none", "stopping=none", *more)
    left = fork_server.start(sandbox, *arguments, watch_disk=str(peak)).wait(1700)
    assert left.code == 0, left.output
    found = json.loads(peak.read_text())
    assert found["weights"] <= kept + 1 + 2, found
    assert found["states"] <= 2, found
    assert len(list((sandbox.folder / "trials").glob("*/best"))) <= kept + 1
    assert not [path for name in ("state", "previous") for path in (sandbox.folder / "trials").glob(f"*/{name}")]
