"""Compare what the driver and torch see of a machine's GPUs: one counts only if torch can compute on it."""

from __future__ import annotations

from collections.abc import Iterator

from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.gpus import (
    Accelerator,
    DriverView,
    TorchView,
    count_visible,
    describe_gpus,
    look_in_new_process,
    read_driver,
)

_WHERE = "runner.gpus_per_trial"

_OLDEST_DRIVER = {"12": "525", "13": "580"}
"""The oldest driver for each major version of CUDA (NVIDIA's table of minor version compatibility)."""

_ON_CPU = "CUDA_VISIBLE_DEVICES= (empty) runs without a GPU"
_WHEELS = "pytorch.org/get-started"


def inspect_gpus() -> tuple[Accelerator, ...]:
    """Return the GPUs that torch can compute on; none if the machine has none, or CUDA_VISIBLE_DEVICES hides them.

    Raises:
        InputError: If the driver sees GPUs and torch cannot use them, or one of them cannot compute.
    """
    import torch

    driver = read_driver()
    seen = max(torch.cuda.device_count(), count_visible(driver.gpus) if driver else 0)  # torch counts by NVML too
    if not seen:
        return ()
    is_built = torch.version.cuda is not None or torch.version.hip is not None
    view = look_in_new_process() if is_built else TorchView(torch.__version__, None)
    if diagnostics := [*check_views(driver, view, visible=seen)]:
        raise InputError(diagnostics)
    return view.gpus


def check_views(
    driver: DriverView | None, view: TorchView, *, owner: str = "this machine", visible: int | None = None
) -> Iterator[Diagnostic]:
    """Compare what the driver and torch see on one machine; yield nothing if torch can compute on every GPU it sees.

    Torch may see fewer GPUs than the driver, such as one MIG device of several.

    Args:
        driver: The driver's view, None without a driver.
        view: Torch's view.
        owner: The machine, for the message.
        visible: How many of the driver's GPUs torch should see; by default, those in CUDA_VISIBLE_DEVICES of this
            process.
    """
    seen = (count_visible(driver.gpus) if driver else 0) if visible is None else visible
    if seen and not view.gpus:
        yield _describe_unusable(seen, driver, view, owner)
    for problem in view.failed:
        text = f"torch {view.version} cannot compute on a GPU of {owner}: {problem}"
        yield Diagnostic("gpu-failed", _WHERE, text, None, "GPUs that torch can compute on", _advise(problem, view))


def _describe_unusable(
    seen: int, driver: DriverView | None, view: TorchView, owner: str = "this machine"
) -> Diagnostic:
    """Return the diagnostic of a machine whose driver sees `seen` GPUs of which torch can use none."""
    kinds = f" ({describe_gpus(driver.gpus)})" if driver else ""
    cause = f": {view.problem}" if view.problem else ""
    text = f"the driver sees {seen} GPU{'s' * (seen != 1)} on {owner}{kinds}, torch can use 0{cause}"
    return Diagnostic(
        "gpu-failed", _WHERE, text, None, "as many for torch as for the driver", _advise_wheel(driver, view)
    )


def _advise_wheel(driver: DriverView | None, view: TorchView) -> str:
    """Return what to install so that driver and wheel fit together."""
    supported = (
        f"driver {driver.version} supports CUDA up to {driver.cuda}" if driver else "the driver did not answer NVML"
    )
    if view.cuda is None:
        wheel = f"CUDA {driver.cuda.partition('.')[0]}" if driver else "the driver's CUDA"
        return (
            f"torch {view.version} is built without CUDA and {supported}: install a wheel for {wheel} "
            f"({_WHEELS}); {_ON_CPU}"
        )
    built = f"torch {view.version} is built for CUDA {view.cuda}, {supported}"
    major = view.cuda.partition(".")[0]
    if driver and int(driver.cuda.partition(".")[0]) < int(major):
        oldest = _OLDEST_DRIVER.get(major)
        newer = f"update the driver ({oldest} or later)" if oldest else "update the driver"
        older = f"install a wheel for CUDA {driver.cuda.partition('.')[0]} ({_WHEELS})"
        return f"{built}: {newer}, or {older}; {_ON_CPU}"
    return f"{built}, which fit: `nvidia-smi` shows the GPUs' state, and a restart may help; {_ON_CPU}"


def _advise(problem: str, view: TorchView) -> str:
    if "no kernel image" in problem:
        return (
            f"the wheel has kernels for {', '.join(view.architectures)}: install one for an earlier CUDA "
            f"(cu126 has sm_50 to sm_90, {_WHEELS}), or leave the GPU out with CUDA_VISIBLE_DEVICES"
        )
    if "busy or unavailable" in problem:
        return "another process holds the GPU (`nvidia-smi` shows which); CUDA_VISIBLE_DEVICES leaves one out"
    return "`nvidia-smi -q` shows its errors; CUDA_VISIBLE_DEVICES leaves one out"
