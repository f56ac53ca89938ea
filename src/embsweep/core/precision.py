"""Precision of torch's float32 matrix products: a setting of the process, changed by a trial's `train.tf32`."""

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
