"""Precision of torch's float32 matrix products, and deterministic kernels: settings of the process.

A trial sets both, by `train.tf32` and `train.deterministic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DEFAULT = "none"
"""Value of `torch.backends.fp32_precision` with which torch chooses for each operation."""


def set_tf32(wanted: bool | None) -> None:
    """Allow (True) or forbid (False) tf32 in this process; None restores torch's own choice.

    It replaces the trainer's argument of this name: transformers applies each value only once per process
    (`enable_tf32` is cached), so that later trials of a warm process would run with the value of an earlier one.
    """
    _backends().fp32_precision = _DEFAULT if wanted is None else "tf32" if wanted else "ieee"


def set_deterministic(wanted: bool) -> None:
    """Use kernels that give the same bits every time, or torch's own choice.

    An operation without such a kernel raises an error that names it. cuBLAS also needs CUBLAS_WORKSPACE_CONFIG, which
    `core.environment` sets: it is read when CUDA starts. It replaces the trainer's `full_determinism`, which cannot be
    taken back and makes every kernel wait (CUDA_LAUNCH_BLOCKING).
    """
    import torch

    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted


@contextmanager
def default_precision() -> Iterator[None]:
    """Use torch's own choice inside, so that scores measured in training and without a trainer are comparable."""
    backends = _backends()
    before, backends.fp32_precision = backends.fp32_precision, _DEFAULT
    try:
        yield
    finally:
        backends.fp32_precision = before


def _backends() -> Any:  # torch's type stubs lack the setting
    import torch

    return torch.backends
