"""Read what the driver (NVML) and torch see of this machine's GPUs, and let torch compute on them.

`python -m embsweep.core.gpus` prints torch's view as JSON: to look at a GPU through torch creates a CUDA context, which
must end before the trials start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from embsweep.core.errors import describe_exception

AMPERE = (8, 0)
"""The first compute capability with bf16, tf32 and flash attention 2."""

_LOOK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Accelerator:
    """One GPU, or the CPU. `capability` is CUDA's compute capability, None if there is no GPU."""

    name: str = "cpu"
    capability: tuple[int, int] | None = None
    memory_bytes: int = 0
    has_flash_attn: bool = False

    @property
    def has_gpu(self) -> bool:
        """True if there is a GPU."""
        return self.capability is not None

    @property
    def is_ampere(self) -> bool:
        """True if the GPU is of NVIDIA's Ampere generation or later.

        Torch reports bf16 as supported even if it only emulates it (`torch.cuda.is_bf16_supported()` on a T4), which is
        very slow.
        """
        return self.capability is not None and self.capability >= AMPERE


@dataclass(frozen=True)
class DriverView:
    """What NVML sees: the driver's version, the newest CUDA that it supports, and the machine's GPUs, all of them."""

    version: str
    cuda: str
    gpus: tuple[Accelerator, ...]


@dataclass(frozen=True)
class TorchView:
    """What torch sees in a new process.

    `cuda` is the version that the wheel is built for, None for a build without CUDA; `architectures` those that it has
    kernels for; `gpus` the devices in CUDA's order. `problem` says why CUDA does not start, and `failed` for each kind
    of GPU that cannot compute why not.
    """

    version: str
    cuda: str | None
    architectures: tuple[str, ...] = ()
    gpus: tuple[Accelerator, ...] = ()
    problem: str | None = None
    failed: tuple[str, ...] = ()


def inspect_accelerator() -> Accelerator:
    """Return the GPU that torch would use in this process, or the CPU."""
    import torch

    return read_properties(torch.cuda.current_device()) if torch.cuda.is_available() else Accelerator()


def read_properties(index: int) -> Accelerator:
    """Return torch's CUDA device number `index`."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    return Accelerator(properties.name, capability, properties.total_memory, find_spec("flash_attn") is not None)


def has_usable_gpu() -> bool:
    """Return whether CUDA starts, without looking at the GPUs and without a context."""
    import torch

    return torch.cuda.is_available()


def read_driver() -> DriverView | None:
    """Return what NVIDIA's driver says; None if there is no driver, or it does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        version = pynvml.nvmlSystemGetDriverVersion()
        return DriverView(version, f"{cuda // 1000}.{cuda % 1000 // 10}", tuple(map(_read_handle, handles)))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _read_handle(handle: Any) -> Accelerator:
    import pynvml

    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Accelerator(pynvml.nvmlDeviceGetName(handle), (major, minor), pynvml.nvmlDeviceGetMemoryInfo(handle).total)


def count_visible(gpus: Sequence[Accelerator]) -> int:
    """Return how many GPUs CUDA_VISIBLE_DEVICES leaves visible: CUDA stops at the first entry that is not valid."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return len(gpus)
    count = 0
    for entry in map(str.strip, named.split(",")):
        if not entry or entry.startswith("-"):
            break
        count += 1
    return min(count, len(gpus))


def look_in_new_process() -> TorchView:
    """Return torch's view of the GPUs, from a process whose CUDA context ends with it; `problem` if it fails."""
    command = [sys.executable, "-m", "embsweep.core.gpus"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_TIMEOUT_S, check=True)  # noqa: S603
        return parse_views(done.stdout)[1]
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        problem = lines[-1]
    except subprocess.TimeoutExpired:
        problem = f"no answer in {_LOOK_TIMEOUT_S:g} s"
    import torch

    return TorchView(torch.__version__, torch.version.cuda, problem=problem)


def parse_views(text: str) -> tuple[DriverView | None, TorchView]:
    """Return the views that `python -m embsweep.core.gpus` has printed, perhaps on another machine."""
    values = json.loads(text.splitlines()[-1])
    driver, seen = values["driver"], values["torch"]
    lists = {name: tuple(seen[name]) for name in ("architectures", "failed")}
    view = TorchView(**{**seen, **lists, "gpus": _parse_gpus(seen["gpus"])})
    return DriverView(**{**driver, "gpus": _parse_gpus(driver["gpus"])}) if driver else None, view


def _parse_gpus(values: Iterable[dict[str, Any]]) -> tuple[Accelerator, ...]:
    return tuple(Accelerator(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in values)


def look() -> TorchView:
    """Return torch's view of the GPUs from this process, and compute on one GPU of each kind."""
    import torch

    version, cuda = str(torch.__version__), torch.version.cuda or torch.version.hip
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        gpus = tuple(read_properties(index) for index in range(torch.cuda.device_count()))
        architectures = tuple(torch.cuda.get_arch_list())
    except Exception as error:  # torch raises RuntimeError, AssertionError and errors of its own
        return TorchView(version, cuda, problem=describe_exception(error))
    kinds = {(gpu.name, gpu.capability): index for index, gpu in reversed(list(enumerate(gpus)))}
    failed = tuple(problem for index in sorted(kinds.values()) if (problem := _compute(index, gpus[index])))
    return TorchView(version, cuda, architectures, gpus, failed=failed)


def _compute(index: int, gpu: Accelerator) -> str | None:
    """Multiply two small matrices on a GPU; return what is wrong."""
    import torch

    try:
        matrix = torch.arange(64.0, device=f"cuda:{index}").reshape(8, 8)
        is_right = torch.equal((matrix @ matrix).cpu(), matrix.cpu() @ matrix.cpu())
    except Exception as error:
        return f"GPU {index}, {describe_gpu(gpu)}: {describe_exception(error)}"
    return None if is_right else f"GPU {index}, {describe_gpu(gpu)}: a product of two matrices is wrong"


def describe_gpu(gpu: Accelerator) -> str:
    """Return text such as `Tesla T4 (7.5, 14.6 GiB)`."""
    capability = ".".join(map(str, gpu.capability or ()))
    return f"{gpu.name} ({capability}, {gpu.memory_bytes / 2**30:.1f} GiB)"


def describe_gpus(gpus: Iterable[Accelerator]) -> str:
    """Return text such as `2 × Tesla T4 (7.5, 14.6 GiB)`, kinds in their order."""
    return ", ".join(f"{count} × {text}" for text, count in Counter(map(describe_gpu, gpus)).items())


if __name__ == "__main__":
    seen = read_driver()
    sys.stdout.write(json.dumps({"driver": asdict(seen) if seen else None, "torch": asdict(look())}) + "\n")
