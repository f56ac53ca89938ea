"""Weights on disk stay bounded, however many trials there are."""

import json
import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRIALS = int(os.environ.get("CHAOS_BOUND_TRIALS", "40"))
KEPT = 3 + 1
"""`sweep.keep_checkpoints`, and the recipe."""


def test_the_weights_of_many_trials(nursery, world):
    """At no moment more than the kept ones and two besides: the running one, and what takes its place."""
    peak = world.root / "peak.json"
    arguments = (f"search.trials={TRIALS}", "confirm=none", "stopping=none")
    left = nursery.start(world, *arguments, watch_disk=str(peak)).wait(1700)
    assert left.code == 0, left.output
    found = json.loads(peak.read_text())
    assert found["weights"] <= KEPT + 2, found
    assert found["states"] <= 2, found
    assert len(list((world.folder / "trials").glob("*/best"))) <= KEPT
    assert not [path for name in ("state", "before") for path in (world.folder / "trials").glob(f"*/{name}")]
