"""Choose precision, tf32, attention and gradient checkpointing by hardware, model and loss.

No other module makes these choices; `docs/hardware.md` has them as a table.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from embsweep.config import TrialConfig
from embsweep.core.codes import Code
from embsweep.core.distributed import current_group
from embsweep.core.errors import Diagnostic, InputError, TrialFailed
from embsweep.core.gpus import Accelerator, inspect_accelerator
from embsweep.models.attention import FLASH, find_attentions
from embsweep.training.memory_estimate import MAX_FILL_RATIO, estimate_memory


@dataclass(frozen=True)
class HardwareSettings:
    """Resolved settings of a trial.

    None leaves `tf32` to torch and `attention` to the model: sdpa, or eager if the model lacks sdpa.
    """

    precision: str = "fp32"
    tf32: bool | None = None
    attention: str | None = None
    gradient_checkpointing: bool = False

    def facts(self) -> dict[str, object]:
        """Return the settings for the trial's record, with None as `own`.

        `read_attention` returns the attention that a loaded model actually uses.
        """
        return {name: "own" if value is None else value for name, value in asdict(self).items()}


def resolve_for_this_process(
    config: TrialConfig, folder: Path | None = None, *, memory_share: float = 1.0
) -> HardwareSettings:
    """Return `resolve_hardware` for this process's accelerator and the attentions of the model's architecture.

    The processes of a group choose together, for the weakest of their accelerators: each step is taken by all of them.

    Args:
        config: Configuration of the trial.
        folder: Copy of the model's files; None for the model's own place.
        memory_share: Share of a GPU's memory that the trial may use.

    Raises:
        InputError: As for `resolve_hardware`.
    """
    weakest = find_weakest(current_group().gather(inspect_accelerator()))
    return resolve_hardware(config, weakest, find_attentions(config.model, folder), memory_share=memory_share)


def require_gpu() -> None:
    """Check that this process sees a GPU: a trial that was given one must not train on the CPU instead.

    Raises:
        TrialFailed: If it sees none.
    """
    import torch

    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise TrialFailed(
            "gpu-failed",
            f"the trial was given a GPU, but torch {torch.__version__} (CUDA {torch.version.cuda}) sees none in its "
            f"process on {platform.node()} (CUDA_VISIBLE_DEVICES={visible}); `embsweep doctor` there says why",
        )


def find_weakest(accelerators: Sequence[Accelerator]) -> Accelerator:
    """Return one with the lowest compute capability, the smallest memory, and only what all of them have.

    It is named after the one with the smallest memory. A CPU among them is the weakest.
    """
    smallest = min(accelerators, key=lambda one: one.memory_bytes)
    if smallest.capability is None:
        return smallest
    lowest = min(one.capability or (0, 0) for one in accelerators)
    return replace(smallest, capability=lowest, has_flash_attn=all(one.has_flash_attn for one in accelerators))


def resolve_hardware(
    config: TrialConfig,
    machine: Accelerator,
    attentions: Collection[str] | None = None,
    *,
    memory_share: float = 1.0,
) -> HardwareSettings:
    """Resolve the `auto` values (tf32: null) of `config` on `machine`; keep the others unchanged.

    Args:
        config: Configuration of the trial.
        machine: Accelerator on which the trial runs.
        attentions: Attention implementations that the model's architecture supports, None if unknown.
        memory_share: Share of the GPU's memory that the trial may use.

    Returns:
        Settings of the trial.

    Raises:
        InputError: If keys request something unavailable; it has a diagnostic for each of them.
    """
    precision = resolve_precision(config, machine)
    found_by_attention = _check_attention(config, machine, precision, attentions)
    if diagnostics := [*_check_precision(config, machine), *found_by_attention]:
        raise InputError(diagnostics)
    return HardwareSettings(
        precision,
        config.train.tf32 if machine.has_gpu else None,  # on some CPUs the setting would change the arithmetic too
        _resolve_attention(config, machine, precision, attentions),
        _resolve_checkpointing(config, machine, precision, memory_share),
    )


def resolve_precision(config: TrialConfig, machine: Accelerator) -> str:
    """Return the precision of a trial on `machine`; `auto` is never fp16, which may overflow unnoticed."""
    precision = config.train.precision
    if precision == "auto":
        return "bf16" if machine.is_ampere else "fp32"
    return precision


def _resolve_attention(
    config: TrialConfig, machine: Accelerator, precision: str, attentions: Collection[str] | None
) -> str | None:
    if config.train.attention != "auto":
        return config.train.attention
    is_known = attentions is not None and FLASH in attentions
    return FLASH if is_known and _find_flash_obstacle(machine, precision) is None else None


def _resolve_checkpointing(config: TrialConfig, machine: Accelerator, precision: str, memory_share: float) -> bool:
    """Resolve `auto` to true if the loss allows it and texts of full length might not fit without it."""
    wanted = config.train.gradient_checkpointing
    if wanted != "auto":
        return wanted
    if config.loss.name != "mnrl" or config.model.kind == "static" or not machine.has_gpu:
        return False
    estimate = estimate_memory(config, precision, gradient_checkpointing=False)
    return estimate.training > MAX_FILL_RATIO * memory_share * machine.memory_bytes


def _check_precision(config: TrialConfig, machine: Accelerator) -> Iterator[Diagnostic]:
    wanted = config.train.precision
    if wanted == "fp16" and not machine.has_gpu:
        yield Diagnostic("not-supported", "train.precision", "fp16 needs a GPU", wanted, "auto, fp32, bf16")
    if wanted == "bf16" and machine.has_gpu and not machine.is_ampere:
        yield Diagnostic(
            "not-supported",
            "train.precision",
            f"{machine.name} can only emulate bf16 (its compute capability is below 8.0)",
            wanted,
            "auto, fp32, fp16",
        )


def _check_attention(
    config: TrialConfig, machine: Accelerator, precision: str, attentions: Collection[str] | None
) -> Iterator[Diagnostic]:
    wanted = config.train.attention
    if wanted == "auto":
        return
    if attentions is not None and wanted not in attentions:
        yield Diagnostic(
            "not-supported",
            "train.attention",
            f"not supported by the architecture of model '{config.model.name}'",
            wanted,
            ", ".join(["auto", *sorted(attentions)]),
        )
    elif wanted == FLASH and (obstacle := _find_flash_obstacle(machine, precision)):
        yield Diagnostic(obstacle[0], "train.attention", obstacle[1], wanted, "auto, sdpa, eager")


def _find_flash_obstacle(machine: Accelerator, precision: str) -> tuple[Code, str] | None:
    """Return code and description of what rules out flash attention 2 for every model, None if nothing does."""
    old = f"flash attention needs a GPU of compute capability 8.0 or higher, this is {machine.name}"
    absent = "flash attention needs the package flash_attn, which is not installed"
    wide = f"flash attention needs train.precision=bf16 or fp16, not {precision}"
    rules: tuple[tuple[bool, Code, str], ...] = (
        (not machine.is_ampere, "not-supported", old),
        (not machine.has_flash_attn, "not-installed", absent),
        (precision not in ("bf16", "fp16"), "conflict", wide),
    )
    return next(((code, problem) for applies, code, problem in rules if applies), None)
