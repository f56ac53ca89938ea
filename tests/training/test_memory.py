"""Out of memory: every form of the error is recognised, and the advice fits the configuration."""

import pytest

from embsweep.core.errors import EmbsweepError, TrialFailed
from embsweep.core.gpu_errors import is_out_of_memory
from embsweep.training.memory import describe_failure, peak_bytes, release_memory, suggest_memory_fixes

CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.2 GiB is free. "
    "If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF"
)
CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
MINILM = ("model=minilm", "matryoshka=from_384")
STATIC = ("model=static", "matryoshka=from_384")
CACHED = ("loss=cached_mnrl", "train.batch_size=256")


def _errors():
    import torch

    chained = EmbsweepError("the trial's process failed")
    chained.__cause__ = torch.OutOfMemoryError(CUDA)
    ray = type("OutOfMemoryError", (Exception,), {})("the node ran low")
    return [
        torch.OutOfMemoryError(CUDA),
        torch.cuda.OutOfMemoryError(CUDA),
        RuntimeError(CPU),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
        chained,
        ray,
    ]


@pytest.mark.parametrize("index", range(8))
def test_every_form_of_out_of_memory_is_recognised(make_config, index):
    error = _errors()[index]
    assert is_out_of_memory(error)
    assert "train.batch_size" in suggest_memory_fixes(error, make_config().trial)


def test_a_real_error_of_torch_is_recognised(make_config):
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert "runner.max_concurrent" in suggest_memory_fixes(caught.value, make_config().trial)


@pytest.mark.parametrize(
    "error", [ValueError("no"), RuntimeError("shape"), TrialFailed("not-finite", "loss is nan"), OSError(28, "full")]
)
def test_other_failures_get_no_advice(make_config, error):
    config = make_config().trial
    assert suggest_memory_fixes(error, config) is None
    expected = str(error) if isinstance(error, EmbsweepError) else f"{type(error).__name__}: {error}"
    assert describe_failure(error, config) == expected


OUT_OF_MEMORY = [
        (
            (),
            ["loss=cached_mnrl loss.mini_batch_size=8", "train.gradient_checkpointing=true", "train.batch_size",
             "model.max_seq_length", "512", "runner.trials_per_gpu"],
            ["attention", "loss.mini_batch_size ", "=false"],
        ),
        (
            CACHED,
            ["loss.mini_batch_size", "16", "8", "model.max_seq_length"],
            ["gradient_checkpointing", "train.batch_size", "loss=cached_mnrl"],
        ),
        ((*CACHED, "loss.mini_batch_size=auto"), ["auto", "16"], ["gradient_checkpointing"]),
        ((*CACHED, "loss.mini_batch_size=1"), ["model.max_seq_length"], ["loss.mini_batch_size"]),
        (
            ("train.gradient_checkpointing=true",),
            ["loss=cached_mnrl loss.mini_batch_size=8", "train.gradient_checkpointing=false"],
            ["train.gradient_checkpointing=true"],
        ),
        (("train.attention=eager",), ["train.attention=auto"], []),
        (STATIC, ["train.batch_size"], ["cached", "gradient_checkpointing", "max_seq_length"]),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "named", "not_named"), OUT_OF_MEMORY)
def test_advice_names_only_what_helps_the_configuration(make_config, overrides, named, not_named):
    import torch

    advice = suggest_memory_fixes(torch.OutOfMemoryError(CUDA), make_config(*overrides).trial)
    assert [key for key in named if key not in advice] == []
    assert [key for key in not_named if key in advice] == []


def test_the_reason_is_short_and_holds_advice_and_error(make_config):
    import torch

    reason = describe_failure(torch.OutOfMemoryError(CUDA), make_config().trial)
    assert suggest_memory_fixes(torch.OutOfMemoryError(CUDA), make_config().trial) in reason
    assert reason.endswith("(OutOfMemoryError: CUDA out of memory)")
    assert "\n" not in reason
    assert "PYTORCH_ALLOC_CONF" not in reason


def test_out_of_memory_in_an_evaluation_has_its_own_advice(make_config, table_model, word_set, monkeypatch):
    """It is raised once not even one text fits, so that a smaller batch is no advice."""
    import torch

    from embsweep.evaluation.evaluator import evaluate_model

    model, sizes = table_model([[1.0, 0.0], [0.0, 1.0]]), []

    def refuse(*_, batch_size, **__):
        sizes.append(batch_size)
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(type(model), "encode_document", refuse)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        evaluate_model(model, word_set(1, 1, [[0]]), [2], batch_size=6)
    assert sizes == [6, 3, 1]
    advice = suggest_memory_fixes(caught.value, make_config().trial)
    assert "model.max_seq_length" in advice
    assert "batch_size" not in advice


def test_without_a_gpu_there_is_no_peak(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert peak_bytes() is None


def test_releasing_memory_on_a_broken_context_raises_nothing(monkeypatch):
    """The trial's own error stands."""
    import torch

    def fail():
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    release_memory()
