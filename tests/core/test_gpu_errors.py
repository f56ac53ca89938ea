"""Errors of GPU libraries: which ones end a process, and what is said of them outside a trial."""

import pytest

from embsweep.core.errors import CodedError
from embsweep.core.gpu_errors import explain_gpu_errors, is_context_broken, is_out_of_memory


class AcceleratorError(RuntimeError):
    """Named as torch's, which has no constructor in Python."""


BROKEN = [
    AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
]
MEMORY = [
    RuntimeError("CUDA error: out of memory"),
    AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]
OTHER = [RuntimeError("shapes cannot be multiplied"), ValueError("CUDA error: quoted"), OSError("no such file")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *((error, (True, False)) for error in BROKEN),
        *((error, (False, True)) for error in MEMORY),
        *((error, (False, False)) for error in OTHER),
    ],
)
def test_errors_are_told_apart_also_as_causes(error, expected):
    assert (is_context_broken(error), is_out_of_memory(error)) == expected
    outer = RuntimeError("a library")
    outer.__cause__ = error
    assert (is_context_broken(outer), is_out_of_memory(outer)) == expected


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [(BROKEN[0], "gpu-failed", "embsweep doctor"), (MEMORY[0], "not-enough-memory", "nvidia-smi")],
)
def test_an_error_outside_a_trial_is_ours_with_advice(error, code, part):
    with pytest.raises(CodedError) as caught, explain_gpu_errors("scoring the base model"):
        raise error
    assert caught.value.code == code
    assert str(caught.value).startswith("scoring the base model ")
    assert part in str(caught.value)


def test_lack_of_the_machines_memory_names_no_gpu():
    with pytest.raises(CodedError) as caught, explain_gpu_errors("the evaluation"):
        raise MemoryError
    assert "GPU" not in str(caught.value)


@pytest.mark.parametrize("error", [*OTHER, CodedError("truncated", "ours")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, explain_gpu_errors("the evaluation"):
        raise error
    assert caught.value is error
