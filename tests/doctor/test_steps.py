"""The GPU steps on a CPU at tiny sizes, and how a step that crashes, hangs or cannot run becomes a verdict."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from embsweep.core.gpus import Accelerator
from embsweep.doctor import steps_arithmetic, steps_memory, steps_sweep, steps_trial, steps_workers
from embsweep.doctor.isolation import Step, run_here, run_isolated
from embsweep.doctor.setup import TINY, NetworkShape, Setup
from embsweep.doctor.speed import count_layer_weights, count_operations, find_peak
from embsweep.doctor.steps import STEPS
from embsweep.doctor.verdicts import Skipped, StepFailed

BY_NAME = {step.name.partition(" ")[2]: step for step in STEPS}


@pytest.fixture
def run_step(heavy_imports, tmp_path):
    """Run a step in this process on the CPU."""
    return lambda name: run_here(BY_NAME[name], Setup("cpu", tmp_path, TINY))


def crash(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_):
    time.sleep(60)


def speak(_):
    os.write(1, b"the library's last words\n")
    raise ValueError("first line\nsecond line")


def list_variables(setup):
    return f"{os.environ['HF_HUB_OFFLINE']} {setup.scratch.is_dir()}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "timeout_s", "is_ok", "figures"),
    [
        (list_variables, 60, True, "1 True"),
        (crash, 60, False, "its process died (SIGSEGV)"),
        (hang, 2, False, "no result in 2 s"),
        (speak, 60, False, "ValueError: first line"),
    ],
)
def test_whatever_happens_in_a_step_is_a_verdict(tmp_path, function, timeout_s, is_ok, figures):
    verdict = run_isolated(Step("0 test", "", function, timeout_s=timeout_s), "cpu", TINY, tmp_path)
    assert (verdict.is_ok, verdict.figures.startswith(figures)) == (is_ok, True), verdict.figures
    logs = list(tmp_path.iterdir())
    assert len(logs) == (function is speak), "the log of a failed step stays, if it says something"
    if logs:
        assert "the library's last words" in logs[0].read_text()
        assert str(logs[0]) in verdict.figures


@pytest.mark.slow
def test_a_step_for_a_gpu_does_not_run_on_a_cpu_instead(tmp_path):
    verdict = run_isolated(Step("0 test", "", list_variables), "cuda", TINY, tmp_path)
    assert (verdict.is_ok, verdict.figures) == (False, "torch sees no GPU in the process of this step")
    assert not list(tmp_path.iterdir()), "an empty log is removed"


@pytest.mark.parametrize(
    ("error", "is_ok", "figures"),
    [
        (Skipped("needs 2 GPUs"), None, "needs 2 GPUs"),
        (StepFailed("1e-3"), False, "1e-3"),
        (ModuleNotFoundError("No module named 'x.y'", name="x.y"), None, "x is not installed"),
        (ModuleNotFoundError("No module named 'embsweep.x'", name="embsweep.x"), False, "ModuleNotFoundError"),
    ],
)
def test_how_a_step_ends(tmp_path, error, is_ok, figures):
    def fail(_):
        raise error

    verdict = run_here(Step("0 test", "", fail), Setup("cpu", tmp_path, TINY))
    assert (verdict.is_ok, verdict.figures.startswith(figures)) == (is_ok, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["views", "precision", "evaluation", "mini-batch", "bge-m3"])
def test_steps_pass_on_a_cpu(run_step, name):
    verdict = run_step(name)
    assert verdict.is_ok, verdict.figures
    assert len(verdict.figures) > 10


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["trials", "resume", "workers", pytest.param("sweep", marks=pytest.mark.ray)])
def test_steps_with_processes_pass_on_a_cpu(run_step, name):
    verdict = run_step(name)
    assert verdict.is_ok, verdict.figures


@pytest.mark.slow
def test_an_assert_on_the_device_needs_one(run_step):
    assert run_step("assert").is_ok is None


@pytest.mark.slow
@pytest.mark.parametrize("holds", [8, 100])
def test_out_of_memory_is_checked_with_a_simulated_limit(run_step, monkeypatch, holds):
    from embsweep.models import losses

    build = losses.build_loss

    def refuse(module, inputs):
        import torch

        if module.training and len(inputs[0]["input_ids"]) > holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def watch(*args, **options):
        loss = build(*args, **options)
        loss.model[0].register_forward_pre_hook(refuse)
        return loss

    monkeypatch.setattr(losses, "build_loss", watch)
    verdict = run_step("memory")
    assert verdict.is_ok is (holds == 8), verdict.figures
    assert ("did not run out of memory" in verdict.figures) is (holds == 100)


def test_the_memory_limit_is_a_share_of_the_card(monkeypatch):
    import torch

    shares = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    with steps_memory.limit_memory("cuda", 2 * 2**30):
        assert shares == [0.25]
    assert shares == [0.25, 1.0]


@pytest.mark.parametrize(("capability", "is_ok"), [((9, 0), False), ((7, 5), True)])
def test_tf32_must_show_on_cards_that_have_it(monkeypatch, tmp_path, capability, is_ok):
    errors = {"tf32": 3e-7, "no tf32": 3e-7, "torch's own": 3e-7, "in an evaluation": 3e-7}
    monkeypatch.setattr(steps_arithmetic, "measure_errors", lambda _: errors)
    monkeypatch.setattr(steps_arithmetic, "inspect_accelerator", lambda: Accelerator("x", capability))
    assert run_here(BY_NAME["precision"], Setup("cuda", tmp_path, TINY)).is_ok is is_ok
    errors["in an evaluation"] = 4e-4
    assert run_here(BY_NAME["precision"], Setup("cuda", tmp_path, TINY)).is_ok is False


@pytest.mark.parametrize(
    ("replies", "is_ok"),
    [
        ({"fail_on_device": ("AcceleratorError: device-side assert", True), "multiply": 14.0}, True),
        ({"fail_on_device": ("IndexError: out of range", False), "multiply": 14.0}, False),
        ({"fail_on_device": ("AcceleratorError: device-side assert", True), "multiply": 0.0}, False),
    ],
)
def test_a_broken_context_must_be_recognised_and_end_with_its_process(monkeypatch, tmp_path, replies, is_ok):
    monkeypatch.setattr(steps_arithmetic, "run_in_subprocess", lambda function, _: replies[function.__name__])
    assert run_here(BY_NAME["assert"], Setup("cuda", tmp_path, TINY)).is_ok is is_ok


def test_an_error_on_the_device_is_described():
    text, is_broken = steps_arithmetic.fail_on_device("cpu")
    assert text.startswith("IndexError")
    assert not is_broken
    assert steps_arithmetic.multiply("cpu") == 14.0


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        (Accelerator("H100", (9, 0)), ["mnrl bf16", "cached_mnrl bf16", "mnrl fp16", "mnrl fp32 tf32"]),
        (Accelerator("T4", (7, 5)), ["mnrl fp16", "mnrl fp32 tf32"]),
        (Accelerator(), ["mnrl bf16", "cached_mnrl bf16", "mnrl fp32 tf32"]),
    ],
)
def test_trials_fit_the_card(monkeypatch, tmp_path, machine, names):
    from embsweep.doctor.material import AUTO

    monkeypatch.setattr(steps_trial, "inspect_accelerator", lambda: machine)
    assert list(steps_trial.choose_trials(Setup("cuda", tmp_path), AUTO.model)) == names


def test_workers_need_two_cards(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    verdict = run_here(BY_NAME["workers"], Setup("cuda", tmp_path, TINY))
    assert (verdict.is_ok, verdict.figures) == (None, "needs 2 GPUs, this machine has 1")
    assert steps_workers.choose_backend(Setup("cuda", tmp_path)) == "nccl"


def test_a_sweep_needs_its_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(steps_sweep, "find_spec", lambda name: None if name in ("ray", "optuna") else 1)
    verdict = run_here(BY_NAME["sweep"], Setup("cpu", tmp_path, TINY))
    assert (verdict.is_ok, verdict.figures) == (None, "not installed: ray, optuna")


def test_a_sweep_does_not_write_to_the_users_server(set_env):
    set_env(MLFLOW_TRACKING_URI="https://team", RAY_ADDRESS="head:6379", NCCL_DEBUG="INFO")
    environment = steps_sweep.make_environment()
    assert environment["NCCL_DEBUG"] == "INFO"
    assert not {"MLFLOW_TRACKING_URI", "RAY_ADDRESS"} & environment.keys()
    assert Path(environment["PYTHONPATH"].split(os.pathsep)[0]).is_absolute()


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla T4", None),
        ("cpu", None),
    ],
)
def test_peaks_by_name(name, peak):
    assert find_peak(name) == peak


def test_operations_of_bge_m3():
    """Layers of 24 * 12 * 1024**2 weights; at 128 tokens the 1.85 GFLOP per token of docs and design."""
    assert count_layer_weights(NetworkShape()) == 24 * 12 * 1024**2
    assert count_operations(NetworkShape(), 128) == pytest.approx(1.85e9, rel=0.01)
