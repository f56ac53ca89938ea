"""What the driver and torch see of the GPUs, on simulated machines, and what is said where they differ."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from embsweep.core import gpus
from embsweep.core.errors import InputError
from embsweep.core.gpu_checks import check_views, inspect_gpus
from embsweep.core.gpus import Accelerator, DriverView, TorchView, count_visible, look, parse_views, read_driver
from tests.refusals import codes_and_locations

A100 = Accelerator("NVIDIA A100", (8, 0), 40 * 2**30)
V100 = Accelerator("Tesla V100", (7, 0), 16 * 2**30)
OLD = DriverView("535.104.05", "12.2", (A100, A100))
NEW = DriverView("580.65.06", "13.0", (A100, A100))


@pytest.fixture
def nvml(monkeypatch):
    """Return a function that puts a driver behind NVML."""

    def install(driver, error=None):
        import pynvml

        def init():
            if error is not None:
                raise error

        major, minor = driver.cuda.split(".")
        values = {
            "nvmlInit": init,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(driver.gpus),
            "nvmlDeviceGetHandleByIndex": lambda index: driver.gpus[index],
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 1000 * int(major) + 10 * int(minor),
            "nvmlSystemGetDriverVersion": lambda: driver.version,
            "nvmlDeviceGetCudaComputeCapability": lambda gpu: gpu.capability,
            "nvmlDeviceGetName": lambda gpu: gpu.name,
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=gpu.memory_bytes),
        }
        for name, value in values.items():
            monkeypatch.setattr(pynvml, name, value)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return install


def test_the_driver_is_read_through_nvml(nvml):
    nvml(OLD)
    assert read_driver() == OLD


def test_a_driver_that_does_not_answer_is_none(nvml):
    import pynvml

    nvml(OLD, pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert read_driver() is None


@pytest.mark.parametrize(
    ("named", "count"), [(None, 2), ("0", 1), ("1,0", 2), ("", 0), ("-1", 0), ("0,-1,1", 1), ("GPU-3f,0,1,7", 2)]
)
def test_cuda_visible_devices_limits_the_count(named, count, set_env):
    set_env(CUDA_VISIBLE_DEVICES=named)
    assert count_visible((A100, A100)) == count


UNUSABLE = [
    (OLD, TorchView("2.13.0", "13.0", problem="RuntimeError: old"), ["535.104.05", "12.2", "13.0", "580", "CUDA 12"]),
    (OLD, TorchView("2.13.0+cpu", None), ["without CUDA", "2 × NVIDIA A100", "CUDA 12"]),
    (NEW, TorchView("2.13.0", "13.0", problem="RuntimeError: busy"), ["RuntimeError: busy", "nvidia-smi"]),
]
"""Driver and torch that do not fit together, each with parts of the message."""


@pytest.mark.parametrize(("driver", "view", "parts"), UNUSABLE)
def test_gpus_that_torch_cannot_use_are_a_fault_with_both_numbers(driver, view, parts):
    (diagnostic,) = check_views(driver, view, visible=2)
    assert codes_and_locations([diagnostic]) == [("gpu-failed", "runner.gpus_per_trial")]
    assert "sees 2 GPUs" in diagnostic.message
    assert "torch can use 0" in diagnostic.message
    assert [part for part in (*parts, "CUDA_VISIBLE_DEVICES=") if part not in str(diagnostic)] == []


def test_a_gpu_without_kernels_in_the_wheel_is_a_fault_with_its_architectures():
    problem = "GPU 1, Tesla V100 (7.0, 16.0 GiB): RuntimeError: no kernel image is available"
    view = TorchView("2.13.0", "13.0", ("sm_75", "sm_80"), (A100, V100), failed=(problem,))
    (diagnostic,) = check_views(NEW, view)
    assert [part for part in ("Tesla V100", "sm_75, sm_80", "cu126") if part not in str(diagnostic)] == []


@pytest.mark.parametrize(
    ("driver", "view"),
    [
        (None, TorchView("2.13.0+cpu", None)),
        (NEW, TorchView("2.13.0", "13.0", gpus=(A100, A100))),
        (NEW, TorchView("2.13.0", "13.0", gpus=(A100,))),  # MIG: CUDA shows one device of several
        (None, TorchView("2.13.0+rocm", None, gpus=(A100,))),
    ],
)
def test_what_fits_together_gives_no_diagnostic(driver, view):
    assert list(check_views(driver, view, visible=len(driver.gpus) if driver else 0)) == []


def test_a_gpu_that_only_nvml_counts_is_refused_before_anything_is_asked_of_cuda(nvml, monkeypatch):
    """A driver that is too old for the wheel: `device_count` is 1, `is_available` False."""
    monkeypatch.setattr("torch._C._cuda_getDeviceCount", lambda: 0, raising=False)
    monkeypatch.setattr("torch.cuda._device_count_nvml", lambda: 1)
    with pytest.raises(InputError, match="sees 1 GPU on this machine, torch can use 0"):
        inspect_gpus()


def test_hidden_gpus_are_not_missed(nvml, set_env):
    nvml(OLD)
    set_env(CUDA_VISIBLE_DEVICES="")
    assert inspect_gpus() == ()


@pytest.fixture
def cuda(monkeypatch):
    """Return a function that gives torch these GPUs, whose products fail with the error if there is one."""

    def install(found, error=None):
        import torch

        def compute(*_, **__):
            raise error

        monkeypatch.setattr("torch.cuda.init", lambda: None)
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(found))
        monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_80"])
        monkeypatch.setattr(gpus, "read_properties", lambda index: found[index])
        monkeypatch.setattr("torch.arange", compute if error else lambda *_, **__: torch.ones(64))

    return install


def test_each_kind_of_gpu_computes_once(cuda):
    cuda((A100, V100, V100), RuntimeError("CUDA error: no kernel image is available for execution\nmore"))
    view = look()
    assert view.gpus == (A100, V100, V100)
    assert [text.partition(",")[0] for text in view.failed] == ["GPU 0", "GPU 1"]
    assert view.failed[1].endswith(
        "(7.0, 16.0 GiB): RuntimeError: CUDA error: no kernel image is available for execution"
    )


def test_gpus_that_compute_right_do_not_fail(cuda):
    cuda((A100, V100))
    assert look().failed == ()


def test_the_views_of_another_process_are_read_as_they_were(cuda):
    cuda((A100,))
    text = "a line of a library\n" + json.dumps({"driver": asdict(NEW), "torch": asdict(look())})
    assert parse_views(text) == (NEW, look())
    assert parse_views(json.dumps({"driver": None, "torch": asdict(look())})) == (None, look())


@pytest.mark.slow
def test_the_command_prints_the_views_of_this_machine():
    view = gpus.look_in_new_process()
    assert bool(view.gpus) == (view.problem is None)
