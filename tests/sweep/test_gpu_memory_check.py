"""The memory check for trials that share a GPU: how many fit, which one is measured, and the diagnostics."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from embsweep.cli.composition.request import read_request
from embsweep.config.rehearsal import Rehearsal
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.core.gpus import Accelerator
from embsweep.runners.resources import Slots, count_trials_per_gpu
from embsweep.sweep.checks.gpu_memory import (
    adapt_to_gpu,
    check_gpu_memory,
    check_memory,
    count_fitting,
    find_largest_trial,
    scale_to_smallest_gpu,
)
from embsweep.training.gpu_memory import Gpu, MemoryUsage, measure_footprint

pytestmark = pytest.mark.slow

GIB = 2**30
STORAGE = Path("no such folder")  # used on a cluster only
FULL = Rehearsal(is_rehearsal=False)


def _gpu(free_gib, total_gib=80):
    return Gpu("H100", total_gib * GIB, int(free_gib * GIB))


@pytest.mark.parametrize(
    ("slots", "sharing"),
    [
        (Slots(4, 1, 0.0), 1),
        (Slots(4, 1, 1.0), 1),
        (Slots(4, 1, 2.0), 1),
        (Slots(8, 1, 0.25), 4),
        (Slots(3, 1, 1 / 3), 3),
        (Slots(2, 1, 0.25), 2),
        (Slots(8, 1, 0.4), 2),
    ],
)
def test_count_sharing(slots, sharing):
    assert count_trials_per_gpu(slots) == sharing


@pytest.mark.parametrize(
    ("peak_gib", "free_gib", "fits"),
    [(10, 79, 7), (10, 22, 2), (10, 20, 1), (9.5, 9.5, 0), (80, 79, 0), (0.1, 79, 125)],
)
def test_count_fitting_adds_peak_and_context_of_each_trial(peak_gib, free_gib, fits):
    """0.95 of the free memory is available; each trial but the first needs half a GiB for its context."""
    assert count_fitting(int(peak_gib * GIB), int(free_gib * GIB)) == fits


@pytest.mark.parametrize(
    ("usage", "trials_per_gpu"),
    [
        (MemoryUsage(_gpu(79), 10 * GIB), 7),
        (MemoryUsage(_gpu(79), 10 * GIB), 2),
        (MemoryUsage(None, None), 4),
    ],
)
def test_check_memory_accepts_trials_that_fit(usage, trials_per_gpu):
    assert check_memory(usage, trials_per_gpu) == []


TOO_LARGE = [
    (MemoryUsage(_gpu(79), 30 * GIB, "Less."), ["30.0", "79.0", "80.0", "2"], "runner.trials_per_gpu=2"),
    (MemoryUsage(_gpu(20), 30 * GIB, "Less."), ["30.0", "20.0", "80.0", "0"], "Less."),
    (MemoryUsage(_gpu(20), None, "Possible fixes: less."), ["20.0"], "Possible fixes: less."),
]
"""Each with the numbers in the message and the beginning of the hint."""


@pytest.mark.parametrize(("usage", "numbers", "hint"), TOO_LARGE)
def test_check_memory_reports_trials_that_do_not_fit(usage, numbers, hint):
    (diagnostic,) = check_memory(usage, 4)
    assert (diagnostic.code, diagnostic.location) == ("not-enough-memory", "runner.gpus_per_trial")
    assert re.findall(r"(?<![\w.])\d+(?:\.\d)?", diagnostic.message) == numbers
    assert diagnostic.hint.startswith(hint)


@pytest.mark.parametrize(
    ("smallest_gib", "fits"),
    [(None, 4), (80, 4), (96, 4), (40, 2), (24, 1), (8, 0)],
)
def test_trials_must_fit_on_the_smallest_of_unequal_gpus(smallest_gib, fits):
    measured = MemoryUsage(_gpu(78), 17 * GIB)
    scaled = scale_to_smallest_gpu(measured, smallest_gib and smallest_gib * GIB)
    assert count_fitting(scaled.peak_bytes, scaled.gpu.free_bytes) == fits
    diagnostics = check_memory(scaled, 4)
    assert bool(diagnostics) == (fits < 4)
    assert all(f"{smallest_gib}.0 GiB" in diagnostic.message for diagnostic in diagnostics)


def alone(request_of):
    return find_largest_trial(request_of("hydra.mode=RUN"), FULL)


def test_the_smallest_gpu_of_the_cluster_counts(request_of):
    measured = MemoryUsage(_gpu(78), 17 * GIB)
    call = lambda *_, **__: measured  # noqa: E731
    splits = SimpleNamespace(train=(), validation=SimpleNamespace(corpus={}, queries={}))
    slots = Slots(8, 1, 0.25)
    large, small = Accelerator("H100", (9, 0), 80 * GIB), Accelerator("A100", (8, 0), 40 * GIB)
    assert check_gpu_memory(alone(request_of), splits, slots, call=call, weakest=large) == []
    (diagnostic,) = check_gpu_memory(alone(request_of), splits, slots, call=call, weakest=small)
    assert diagnostic.hint.startswith("runner.trials_per_gpu=2")


@pytest.fixture
def request_of(loader):
    """Return `build(*overrides)`: the request of a command line that sweeps something."""
    return lambda *overrides: read_request(loader, overrides, "x")


def test_find_largest_trial_takes_the_point_that_needs_most_memory(request_of):
    request = request_of(
        "train.learning_rate=interval(1e-6,1e-4)",
        "train.batch_size=range(8,65)",
        "model.max_seq_length=1024,256",
        "train.gradient_checkpointing=true,false",
    )
    largest = find_largest_trial(request, FULL)
    assert (largest.train.batch_size, largest.model.max_seq_length) == (64, 1024)
    assert largest.train.gradient_checkpointing is False


def test_find_largest_trial_treats_a_group_as_a_parameter(request_of):
    request = request_of("train=published,cached_256", "train.precision=bf16")
    assert find_largest_trial(request, FULL).loss.name == "mnrl"


def test_find_largest_trial_skips_an_invalid_configuration(request_of):
    request = request_of("loss.name=mnrl,cached_mnrl", "train.batch_size=range(8,65)")  # it needs a mini_batch_size
    largest = find_largest_trial(request, FULL)
    assert (largest.loss.name, largest.train.batch_size) == ("mnrl", 64)


def test_find_largest_trial_varies_one_parameter_at_a_time_if_their_ends_conflict(request_of):
    request = request_of("train.batch_size=range(8,65)", "model.max_seq_length=range(64,8193)")

    def configure_one(point):
        if len(point) > 1:
            raise InputError(Diagnostic("out-of-range", "train.batch_size", "too large for texts of this length"))
        return request.configure(point)

    largest = find_largest_trial(SimpleNamespace(space=request.space, configure=configure_one), FULL)
    assert (largest.train.batch_size, largest.model.max_seq_length) == (16, 8192)


def test_find_largest_trial_is_the_recipe_without_a_space(request_of):
    request = request_of("hydra.mode=RUN")
    assert find_largest_trial(request, FULL).train.batch_size == 16


def test_find_largest_trial_applies_the_rehearsal(request_of):
    request = request_of("train.batch_size=range(8,65)")
    assert find_largest_trial(request, Rehearsal(is_rehearsal=True)).model.kind == "minilm_3_layers"


@pytest.fixture
def splits():
    validation = SimpleNamespace(corpus=("c",) * 30, queries=("q",) * 12)
    return SimpleNamespace(train=("pairs",), validation=validation)


def test_nothing_is_measured_without_a_gpu(request_of, splits):
    call = lambda *_, **__: pytest.fail("measured")  # noqa: E731
    assert check_gpu_memory(alone(request_of), splits, Slots(4, 1, 0.0), call=call) == []


def test_a_trial_with_a_gpu_of_its_own_must_fit_too(request_of, splits):
    call = lambda *_, **__: MemoryUsage(_gpu(14), None, "Possible fixes: less.")  # noqa: E731
    (diagnostic,) = check_gpu_memory(alone(request_of), splits, Slots(4, 1, 1.0), call=call)
    assert (diagnostic.value, diagnostic.hint) == ("1 trial per GPU", "Possible fixes: less.")


def test_a_worker_is_measured_with_its_share_of_the_batch_and_the_settings_of_the_weakest_gpu(request_of):
    request = request_of("train.batch_size=64", "train.gradient_checkpointing=auto", "hydra.mode=RUN")
    config, old = find_largest_trial(request, FULL), Accelerator("Tesla T4", (7, 5), 15 * GIB)
    train = adapt_to_gpu(config, Slots(1, 4, 4.0, workers=4), old).train
    assert (train.batch_size, train.precision, train.gradient_checkpointing) == (16, "fp32", True)
    assert adapt_to_gpu(config, Slots(1, 4, 1.0), None) == config


def test_the_measurement_runs_in_a_fresh_process(request_of, splits):
    calls = []

    def fake(*args, **kwargs):
        calls.append((args, kwargs))
        return MemoryUsage(_gpu(79), 30 * GIB)

    request = request_of("train.batch_size=range(8,65)")
    (diagnostic,) = check_gpu_memory(find_largest_trial(request, FULL), splits, Slots(4, 1, 0.25), call=fake)
    assert (diagnostic.code, diagnostic.location) == ("not-enough-memory", "runner.gpus_per_trial")
    ((function, config, pairs), options) = calls[0]
    assert (function, config.train.batch_size, pairs) == (measure_footprint, 64, ("pairs",))
    assert options == {"corpus_size": 42, "memory_share": 0.25, "smallest_bytes": None, "models": ()}


def test_a_failed_measurement_is_a_diagnostic(request_of, splits):
    def die(*_, **__):
        raise EmbsweepError("the fresh process died")

    (diagnostic,) = check_gpu_memory(alone(request_of), splits, Slots(2, 1, 0.5), call=die)
    assert (diagnostic.code, diagnostic.location) == ("not-measured", "runner.gpus_per_trial")
    assert diagnostic.message.endswith(": the fresh process died")
