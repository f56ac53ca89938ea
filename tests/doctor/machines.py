"""Simulated machines: what NVML says, what torch sees, and the files of the system."""

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pynvml
import pytest

from embsweep.core.gpus import Accelerator, TorchView
from embsweep.doctor import gpu_facts

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """One card as NVML describes it."""

    name: str = "NVIDIA H100 80GB HBM3"
    capability: tuple = (9, 0)
    total: int = 80 * GIB
    free: int = 78 * GIB
    compute_mode: int = 0

    def to_accelerator(self):
        return Accelerator(self.name, self.capability, self.total)


@contextmanager
def simulate_gpus(cards, *, cuda=13000, driver="580.65.06", view=None):
    """Patch NVML, and torch's view: `view`, or one that can use every card."""
    seen = view or TorchView("2.13.0+cu130", "13.0", ("sm_80", "sm_90"), tuple(c.to_accelerator() for c in cards))
    replies = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index],
        "nvmlSystemGetCudaDriverVersion_v2": lambda: cuda,
        "nvmlSystemGetDriverVersion": lambda: driver,
        "nvmlDeviceGetName": lambda card: card.name,
        "nvmlDeviceGetCudaComputeCapability": lambda card: card.capability,
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=card.total, free=card.free),
        "nvmlDeviceGetComputeMode": lambda card: card.compute_mode,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for name, reply in replies.items():
            patch.setattr(pynvml, name, reply)
        patch.setattr(gpu_facts, "look_in_new_process", lambda: seen)
        patch.setattr(gpu_facts, "has_usable_gpu", lambda: bool(seen.gpus))
        patch.setattr("torch.version.cuda", seen.cuda)
        patch.setattr("torch.__version__", seen.version)
        yield


OLD_DRIVER = {
    "cuda": 12020,
    "driver": "535.54.03",
    "view": TorchView(
        "2.13.0+cu130",
        "13.0",
        problem="RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
    ),
}
"""Driver of CUDA 12.2 under a wheel for 13.0."""
