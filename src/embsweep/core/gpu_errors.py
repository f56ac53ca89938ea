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


_GPU_ADVICE = (
    "another program may hold the GPU (`nvidia-smi` shows which): end it, or choose another GPU, or none, with "
    "CUDA_VISIBLE_DEVICES; then run the same command"
)
_CPU_ADVICE = "end other programs on this machine; then run the same command"
_CONTEXT_ADVICE = "`embsweep doctor` checks every GPU, CUDA_VISIBLE_DEVICES leaves one out; then run the same command"


@contextmanager
def explain_gpu_errors(task: str) -> Iterator[None]:
    """Raise errors of memory and of the GPU as errors of ours: outside a trial there is no record that explains them.

    Args:
        task: What is done inside, such as `scoring the base model`.

    Raises:
        CodedError: If memory ran out (`not-enough-memory`) or CUDA failed (`gpu-failed`).
    """
    try:
        yield
    except EmbsweepError:
        raise
    except Exception as error:
        reason = describe_exception(error).partition(". ")[0]
        if is_out_of_memory(error):
            advice = _GPU_ADVICE if "cu" in reason.lower() else _CPU_ADVICE  # CUDA, cuBLAS, cuDNN
            text = f"{task} ran out of memory, even with one text at a time ({reason}); {advice}"
            raise CodedError("not-enough-memory", text) from error
        if is_context_broken(error):
            raise CodedError("gpu-failed", f"{task} failed on the GPU ({reason}); {_CONTEXT_ADVICE}") from error
        raise
