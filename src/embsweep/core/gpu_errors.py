"""Recognise errors of GPU libraries by type and text: memory that ran out, and a CUDA context that is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embsweep.core.errors import CodedError, EmbsweepError, describe_exception

_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""Texts of a RuntimeError or OSError that ran out of memory.

In this order: CUDA and NCCL, torch's CPU allocator, the system, cuBLAS and cuDNN.
"""

_CONTEXT_SIGNS = ("cuda error", "cudnn error", "cublas_status", "device-side assert")
"""Texts of errors after which every later call to CUDA in the same process may fail.

An illegal address, a device-side assert, an ECC or Xid error stay with the context: it ends only with its process.
"""


def find_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` or one of its causes means that GPU or machine memory ran out."""
    return any(map(_is_out_of_memory, find_causes(error)))


def is_context_broken(error: BaseException) -> bool:
    """Return whether `error` may have left this process with a CUDA context in which every later call fails.

    Out of memory does not: torch raises it before anything is launched.
    """
    return not is_out_of_memory(error) and any(map(_breaks_context, find_causes(error)))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's and Ray's
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in _MEMORY_SIGNS)


def _breaks_context(error: BaseException) -> bool:
    if type(error).__name__ == "AcceleratorError":  # torch's: any failure that CUDA itself reports
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _CONTEXT_SIGNS)


@contextmanager
def explain_gpu_errors(task: str, *, remedy: str) -> Iterator[None]:
    """Raise errors of the GPU inside as errors of ours: outside a trial there is no record that explains them.

    Args:
        task: What is done inside, such as `scoring the base model`.
        remedy: What to do if memory runs out.

    Raises:
        CodedError: If memory ran out (`not-enough-memory`) or CUDA failed (`gpu-failed`).
    """
    try:
        yield
    except EmbsweepError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            reason = describe_exception(error).partition(". ")[0]
            raise CodedError("not-enough-memory", f"{task} ran out of memory ({reason}); {remedy}") from error
        if is_context_broken(error):
            advice = "`embsweep doctor` checks every GPU, CUDA_VISIBLE_DEVICES leaves one out"
            raise CodedError(
                "gpu-failed", f"{task} failed on the GPU ({describe_exception(error)}); {advice}"
            ) from error
        raise
