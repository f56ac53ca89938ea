"""How torch multiplies float32 matrices: a setting of the process, which a trial's `train.tf32` changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_DEFAULT = "none"
"""Torch's own choice for each operation (`torch.backends.fp32_precision`)."""


def set_tf32(wanted: bool | None) -> None:
    """Allow (True) or forbid (False) tf32 in this process; None goes back to torch's own choice.

    In place of the trainer's argument of this name: transformers applies each of its values once in a process
    (`enable_tf32` is cached), so that later trials of a warm process would get what an earlier one has set.
    """
    _backends().fp32_precision = _DEFAULT if wanted is None else "tf32" if wanted else "ieee"


@contextmanager
def default_precision() -> Iterator[None]:
    """Torch's own choice inside: what is measured in training compares with what is measured without a trainer."""
    backends = _backends()
    before, backends.fp32_precision = backends.fp32_precision, _DEFAULT
    try:
        yield
    finally:
        backends.fp32_precision = before


def _backends() -> Any:  # torch's type stubs lack the setting
    import torch

    return torch.backends
