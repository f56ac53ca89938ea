"""The eleven steps of `embsweep doctor --all` on a real GPU, a test for each: `make test-gpu`."""

import sys

import pytest

from embsweep.doctor.gpu_facts import view_gpus
from embsweep.doctor.run import iterate_verdicts
from embsweep.doctor.steps import STEPS
from embsweep.doctor.verdicts import format_verdict

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def views():
    return view_gpus()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name.replace(" ", "-"))
def test_step(step, views):
    assert not views.diagnostics, "torch cannot use the GPUs that the driver sees"
    if not views.gpus:
        pytest.skip("no GPU")
    (verdict,) = iterate_verdicts([step])
    sys.stdout.write(f"\n{format_verdict(verdict)}")
    if verdict.is_ok is None:
        pytest.skip(verdict.figures)
    assert verdict.is_ok, verdict.figures
