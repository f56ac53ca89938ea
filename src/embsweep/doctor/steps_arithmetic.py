"""Steps on torch and the driver alone: both views, the precision of matrix products, a failed kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embsweep.core.errors import describe_exception
from embsweep.core.gpu_errors import is_context_broken
from embsweep.core.gpus import describe_gpus, inspect_accelerator
from embsweep.core.precision import default_precision, set_tf32
from embsweep.core.subprocess import run_in_subprocess
from embsweep.doctor.gpu_facts import view_gpus
from embsweep.doctor.setup import Setup
from embsweep.doctor.verdicts import Skipped, StepFailed, require

if TYPE_CHECKING:
    from torch import Tensor

_FLOAT32_ERROR = 1e-5
"""Far above the rounding of float32 (about 3e-7 here), far below that of tf32 (10 bits of mantissa, about 4e-4)."""

_TF32_ERRORS = (5e-5, 5e-3)


def check_views(setup: Setup) -> str:
    """Compare the driver's and torch's view; multiply two matrices on each kind of GPU."""
    views = view_gpus()
    if views.diagnostics:
        raise StepFailed("; ".join(map(str, views.diagnostics)))
    require(views.torch is not None, views.problem or "torch cannot be imported")
    require(views.gpus or not setup.is_gpu, "torch sees no GPU")
    if not views.gpus:
        return "no GPU, and torch says so too"
    return f"{describe_gpus(views.gpus)}; a product of two matrices is right on each kind"


def check_precision(setup: Setup) -> str:
    """Compare float32 products with float64 for each value of `train.tf32`, and inside an evaluation."""
    errors = measure_errors(setup)
    figures = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    wide = {name: error for name, error in errors.items() if name != "tf32"}
    require(max(wide.values()) <= _FLOAT32_ERROR, f"{figures}; accepted without tf32: up to {_FLOAT32_ERROR:g}")
    if setup.is_gpu and inspect_accelerator().is_ampere:
        low, high = _TF32_ERRORS
        require(low <= errors["tf32"] <= high, f"{figures}; accepted with tf32: {low:g} to {high:g}")
    return f"relative error against float64: {figures}"


def measure_errors(setup: Setup) -> dict[str, float]:
    """Return the relative error of a float32 product (Frobenius norm) for each setting."""
    import torch

    generator = torch.Generator().manual_seed(5)
    size = setup.sizes.matrix
    left, right = (torch.randn(size, size, generator=generator).to(setup.device) for _ in range(2))
    exact = left.double() @ right.double()
    errors = {}
    for name, wanted in (("tf32", True), ("no tf32", False), ("torch's own", None)):
        set_tf32(wanted)
        errors[name] = _compare(left @ right, exact)
    set_tf32(True)
    with default_precision():
        errors["in an evaluation"] = _compare(left @ right, exact)
    set_tf32(None)
    return errors


def _compare(product: Tensor, exact: Tensor) -> float:
    return float((product.double() - exact).norm() / exact.norm())


def check_broken_context(setup: Setup) -> str:
    """Let a kernel fail in one process (an index out of range); the next process must work."""
    if not setup.is_gpu:
        raise Skipped("needs a GPU")
    text, is_broken = run_in_subprocess(fail_on_device, setup.device)
    require(is_broken, f"the error is not recognised as one that breaks the CUDA context: {text}")
    result = run_in_subprocess(multiply, setup.device)
    require(result == 14.0, f"the next process computes {result}, not 14")
    return f"recognised as a broken context ({text.partition(':')[0]}); the next process works"


def fail_on_device(device: str) -> tuple[str, bool]:
    """Read a row that does not exist; return the error, and whether it is one that breaks the context."""
    import torch

    try:
        rows = torch.zeros(4, 2, device=device)
        rows[torch.tensor([4_000_000], device=device)].sum().item()
    except Exception as error:
        return describe_exception(error), is_context_broken(error)
    return "no error was raised", False


def multiply(device: str) -> float:
    """Return 1 + 4 + 9, computed on the device."""
    import torch

    row = torch.tensor([[1.0, 2.0, 3.0]], device=device)
    return float((row @ row.T).item())
