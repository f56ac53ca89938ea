"""tf32: on only if it is requested and there is a GPU, never in an evaluation, and not kept for the next trial."""

import pytest

from embsweep.core.precision import default_precision
from embsweep.evaluation.evaluator import evaluate_model
from embsweep.training.hardware import Accelerator, HardwareSettings, resolve_for_this_process, resolve_hardware
from embsweep.training.trainer import build_arguments


@pytest.fixture
def backends():
    import torch

    before = torch.backends.fp32_precision
    yield torch.backends
    torch.backends.fp32_precision = before


@pytest.mark.parametrize("requested", [True, False, None])
def test_the_setting_holds_on_a_gpu_and_not_on_a_cpu(make_config, requested):
    config = make_config().trial
    config = config.model_copy(update={"train": config.train.model_copy(update={"tf32": requested})})
    assert resolve_hardware(config, Accelerator("H100", (9, 0))).tf32 is requested
    assert resolve_hardware(config, Accelerator()).tf32 is None


@pytest.mark.parametrize("requested", ["true", "false", "null"])
def test_every_setting_can_be_rehearsed_on_a_cpu(monkeypatch, make_config, tmp_path, backends, requested):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = make_config(f"train.tf32={requested}").trial
    build_arguments(config.train, tmp_path, choice=resolve_for_this_process(config))
    assert backends.fp32_precision == "none"


def test_each_trial_of_a_warm_process_gets_its_own_setting(make_config, tmp_path, backends):
    """Values are repeated and return, because transformers' own switch works once for each value."""
    train = make_config("train.precision=fp32").train
    for requested, expected in [(True, "tf32"), (False, "ieee"), (True, "tf32"), (None, "none"), (True, "tf32")]:
        build_arguments(train, tmp_path, choice=HardwareSettings(tf32=requested))
        assert backends.fp32_precision == expected


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_kernels_are_a_setting_of_the_trial(make_config, tmp_path, wanted):
    import torch

    for setting in (not wanted, wanted):
        train = make_config(f"train.deterministic={str(setting).lower()}").train
        build_arguments(train, tmp_path, choice=HardwareSettings())
    found = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    assert found == (wanted, wanted)


def test_an_evaluation_in_training_is_as_precise_as_one_outside(table_model, word_set, backends):
    model = table_model([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    precisions = []
    model[0].register_forward_hook(lambda *_: precisions.append(backends.fp32_precision))
    backends.fp32_precision = "tf32"
    evaluate_model(model, word_set(1, 2, [[0]]), [2], batch_size=4)
    assert set(precisions) == {"none"}
    assert backends.fp32_precision == "tf32"


def test_the_setting_is_restored_after_an_error(backends):
    backends.fp32_precision = "ieee"
    with pytest.raises(ZeroDivisionError), default_precision():
        assert backends.fp32_precision == "none"
        1 / 0  # noqa: B018
    assert backends.fp32_precision == "ieee"
