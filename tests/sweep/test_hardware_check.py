"""Settings that the machines' GPUs do not support are found before anything is loaded."""

import pytest

from embsweep.cli.composition.request import read_request
from embsweep.config import build_config
from embsweep.config.rehearsal import Rehearsal
from embsweep.core.gpus import Accelerator
from embsweep.runners.resources import Machine, Slots
from embsweep.sweep.checks.hardware import validate_hardware

pytestmark = pytest.mark.slow

GIB = 2**30
T4 = Accelerator("Tesla T4", (7, 5), 15 * GIB)
A100 = Accelerator("NVIDIA A100", (8, 0), 40 * GIB)
TINY = Accelerator("GeForce", (8, 6), 4 * GIB)
FULL = Rehearsal(is_rehearsal=False)
ONE_EACH = Slots(2, 1, 1.0)


@pytest.fixture
def validate(loader):
    """Return the diagnostics of a command line on a machine with these GPUs, as (code, location, value)."""

    def run(gpus, *overrides, slots=ONE_EACH):
        is_search = any(override.startswith("+sweep") or "," in override for override in overrides)
        request = read_request(loader, [*overrides, *([] if is_search else ["hydra.mode=RUN"])], "x")
        machines = [Machine(8, len(gpus), tuple(gpus))]
        found = validate_hardware(request, FULL, build_config(request.values), slots, machines)
        return [(diagnostic.code, diagnostic.location, diagnostic.value) for diagnostic in found]

    return run


@pytest.mark.parametrize(
    ("gpus", "overrides"),
    [
        ([A100], ["train.precision=bf16"]),
        ([T4], []),
        ([], ["train.precision=bf16"]),  # not known
    ],
)
def test_what_every_gpu_supports_is_accepted(validate, gpus, overrides):
    assert validate(gpus, *overrides) == []


def test_a_preset_with_bf16_is_refused_on_a_gpu_without(validate):
    bf16 = ("not-supported", "train.precision", "bf16")
    assert validate([T4], "+sweep=de_tax", "data.pairs=x.jsonl")[0] == bf16
    assert validate([A100, T4], "train.precision=bf16") == [bf16], "a trial may get any of them"


def test_an_option_of_the_space_is_checked(validate):
    ((code, location, _),) = validate([T4], "train.precision=auto,fp16,bf16")
    assert (code, location) == ("not-supported", "train.precision")


def test_fp16_needs_a_gpu(validate):
    assert validate([], "train.precision=fp16", slots=Slots(2, 1, 0.0)) == [
        ("not-supported", "train.precision", "fp16")
    ]


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(validate):
    assert [found[:2] for found in validate([TINY])] == [("not-enough-memory", "model")]
    assert validate([TINY], "model=minilm", "matryoshka=from_384") == []
    assert [found[:2] for found in validate([T4], slots=Slots(2, 1, 0.5))] == [("not-enough-memory", "model")]
