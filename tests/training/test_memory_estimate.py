"""The estimated memory of trials, and what each preset chooses on each GPU: the table of docs/hardware.md."""

from pathlib import Path

import pytest

from embsweep.core.errors import InputError
from embsweep.core.gpus import Accelerator
from embsweep.training.hardware import find_weakest, resolve_hardware
from embsweep.training.memory_estimate import MAX_FILL_RATIO, estimate_memory

GIB = 2**30
CACHED = ("loss=cached_mnrl",)
LARGE = (*CACHED, "train.batch_size=256")
MINILM = ("model=minilm", "matryoshka=from_384")
STATIC = ("model=static", "matryoshka=from_384")


def gpu(name, capability, gib):
    return Accelerator(name, capability, int(gib * GIB))


GPUS = {
    "T4": gpu("Tesla T4", (7, 5), 14.6),
    "V100 16 GB": gpu("Tesla V100-SXM2-16GB", (7, 0), 15.8),
    "V100 32 GB": gpu("Tesla V100-SXM2-32GB", (7, 0), 31.7),
    "A10": gpu("NVIDIA A10", (8, 6), 22.1),
    "L4": gpu("NVIDIA L4", (8, 9), 22.0),
    "A100 40 GB": gpu("NVIDIA A100-SXM4-40GB", (8, 0), 39.4),
    "A100 80 GB": gpu("NVIDIA A100-SXM4-80GB", (8, 0), 79.1),
    "H100": gpu("NVIDIA H100 80GB HBM3", (9, 0), 79.1),
}
GPUS["A100 80 GB and T4"] = find_weakest([GPUS["A100 80 GB"], GPUS["T4"]])

PRESETS = {
    "+sweep=bgem3": (),
    "… train=small_gpu": ("train=small_gpu",),
    "… loss=cached_mnrl": CACHED,
    "+sweep=de_tax": ("+sweep=de_tax", "data.pairs=x.jsonl"),
    "+sweep=es_boe": ("+sweep=es_boe", "data.pairs=x.jsonl"),
    "+sweep=ca_procedures": ("+sweep=ca_procedures", "data.pairs=x.jsonl"),
}


def estimate(config, precision="bf16"):
    return estimate_memory(config, precision, gradient_checkpointing=config.train.gradient_checkpointing is True)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ((), ("train.batch_size=32",)),
        ((), ("model.max_seq_length=1024",)),
        (("train.gradient_checkpointing=true",), ()),
        (LARGE, ("train.batch_size=256",)),
        (LARGE, (*LARGE, "loss.mini_batch_size=32")),
        (LARGE, (*LARGE, "loss.mini_batch_size=auto")),
        (MINILM, ()),
        (STATIC, MINILM),
    ],
)
def test_the_estimate_orders_configurations(make_config, less, more):
    small, large = (estimate(make_config(*overrides).trial) for overrides in (less, more))
    assert small.training < large.training


def test_float32_keeps_twice_the_activations_and_evaluates_alike(make_config):
    half, full = (estimate(make_config().trial, precision) for precision in ("bf16", "fp32"))
    assert full.activations > 1.9 * half.activations
    assert (full.fixed, full.evaluation) == (half.fixed, half.evaluation)


def describe(config, machine):
    """Return a cell of the table: what is chosen, and how full the GPU is with texts of full length."""
    try:
        choice = resolve_hardware(config, machine)
    except InputError as error:
        return f"refused: `{error.diagnostics[0].location}`"
    is_recomputed = choice.gradient_checkpointing
    found = estimate_memory(config, choice.precision, gradient_checkpointing=is_recomputed).training
    fits = "" if found <= MAX_FILL_RATIO * machine.memory_bytes else ", too much"
    return f"{choice.precision}{', recomputed' if is_recomputed else ''}, {found / GIB:.0f} GiB{fits}"


@pytest.mark.slow
def test_the_table_of_gpus_and_presets_is_the_documented_one(make_config):
    configs = {name: make_config(*overrides).trial for name, overrides in PRESETS.items()}
    header = ["GPU (GiB)", *(f"`{name}`" if name[0] == "+" else f"… `{name[2:]}`" for name in PRESETS)]
    rows = [
        [f"{name} ({machine.memory_bytes / GIB:.1f})", *(describe(config, machine) for config in configs.values())]
        for name, machine in GPUS.items()
    ]
    text = Path("docs/hardware.md").read_text("utf-8")
    missing = [row for row in (header, *rows) if f"| {' | '.join(row)} |" not in text]
    assert missing == [], "\n".join(f"| {' | '.join(row)} |" for row in missing)


def test_checkpointing_depends_on_the_share_of_the_gpu(make_config):
    config = make_config("train=small_gpu").trial
    shares = {share: resolve_hardware(config, GPUS["H100"], memory_share=share) for share in (1.0, 0.5, 0.25)}
    assert {share: choice.gradient_checkpointing for share, choice in shares.items()} == {
        1.0: False,
        0.5: False,
        0.25: True,
    }


def test_a_group_over_different_gpus_takes_what_all_of_them_have():
    flash = Accelerator("H100", (9, 0), 80, has_flash_attn=True)
    assert find_weakest([flash, gpu("T4", (7, 5), 15)]) == Accelerator("H100", (7, 5), 80)
    assert find_weakest([flash, flash]) == flash
    assert find_weakest([flash, Accelerator()]) == Accelerator()
