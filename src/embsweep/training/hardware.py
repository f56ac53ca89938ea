"""Choose precision, tf32, attention and gradient checkpointing by hardware, model and loss; estimate GPU memory.

No other module makes these choices; `docs/hardware.md` has them as a table. The estimated memory is a rule of thumb for
comparing configurations, not a measurement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from embsweep.config import TrialConfig
from embsweep.config.model import ModelConfig
from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.gpus import Accelerator, inspect_accelerator
from embsweep.models.attention import FLASH, find_attentions, read_config

_VOCABULARY = 250_000
"""Vocabulary size of XLM-RoBERTa, in tokens, for a model whose `config.json` is not on this machine."""

_ADAM = 16
"""Bytes per weight: float32 weight, gradient and Adam's two moments."""

_KEPT = 34
"""Bytes that a layer keeps for the backward pass per token and hidden unit, in half precision.

Without attention scores (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
eq. 1).
"""

_KEPT_INPUT = 2
"""The same if the layer is recomputed: only its input is kept."""


def estimate_bytes(config: TrialConfig, *, gradient_checkpointing: bool) -> int:
    """Estimate the memory of training, in bytes, if every text has `model.max_seq_length` tokens; without evaluation.

    Layers and vocabulary are those of the model's `config.json`; without one, the usual number of layers for an encoder
    of this size and the vocabulary of XLM-RoBERTa. A fixed mini-batch size of a cached loss limits the estimate; `auto`
    counts as the whole batch, since the mini-batch grows as long as it fits.
    """
    model = config.model
    sizes = read_config(model)
    vocabulary = sizes.get("vocab_size", _VOCABULARY)
    if model.kind == "static":
        return _ADAM * vocabulary * model.dim
    layers = sizes.get("num_hidden_layers", _guess_layers(model))
    weights = _ADAM * (12 * layers * model.dim**2 + vocabulary * model.dim)
    kept = _KEPT_INPUT * layers + _KEPT if gradient_checkpointing else _KEPT * layers
    width = 2 if config.train.precision == "fp32" else 1  # auto: as on a GPU with bf16
    return weights + width * kept * model.dim * _tokens_at_once(config)


def _guess_layers(model: ModelConfig) -> int:
    """Return the usual number of layers by hidden size: BERT large, base or small."""
    return 24 if model.dim >= 1024 else 12 if model.dim >= 768 else 6


def _tokens_at_once(config: TrialConfig) -> int:
    """Return the number of tokens whose graph is held at once.

    A cached loss holds the graph of one column's mini-batch, the plain loss that of both columns' whole batch.
    """
    size = config.loss.mini_batch_size
    rows = 2 * config.train.batch_size if config.loss.name == "mnrl" else config.train.batch_size
    return (min(size, rows) if isinstance(size, int) else rows) * config.model.max_seq_length


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


def resolve_for_this_process(config: TrialConfig, folder: Path | None = None) -> HardwareSettings:
    """Return `resolve_hardware` for this process's accelerator and the attentions of the model's architecture.

    Args:
        config: Configuration of the trial.
        folder: Copy of the model's files; None for the model's own place.

    Raises:
        InputError: As for `resolve_hardware`.
    """
    return resolve_hardware(config, inspect_accelerator(), find_attentions(config.model, folder))


def resolve_hardware(
    config: TrialConfig, machine: Accelerator, attentions: Collection[str] | None = None
) -> HardwareSettings:
    """Resolve the `auto` values (tf32: null) of `config` on `machine`; keep the others unchanged.

    Args:
        config: Configuration of the trial.
        machine: Accelerator on which the trial runs.
        attentions: Attention implementations that the model's architecture supports, None if unknown.

    Returns:
        Settings of the trial.

    Raises:
        InputError: If keys request something unavailable; it has a diagnostic for each of them.
    """
    precision = config.train.precision
    if precision == "auto":  # not fp16, which may overflow unnoticed
        precision = "bf16" if machine.is_ampere else "fp32"
    found_by_attention = _check_attention(config, machine, precision, attentions)
    if diagnostics := [*_check_precision(config, machine), *found_by_attention]:
        raise InputError(diagnostics)
    return HardwareSettings(
        precision,
        config.train.tf32 if machine.has_gpu else None,  # on some CPUs the setting would change the arithmetic too
        _resolve_attention(config, machine, precision, attentions),
        _resolve_checkpointing(config, machine),
    )


def _resolve_attention(
    config: TrialConfig, machine: Accelerator, precision: str, attentions: Collection[str] | None
) -> str | None:
    if config.train.attention != "auto":
        return config.train.attention
    is_known = attentions is not None and FLASH in attentions
    return FLASH if is_known and _find_flash_obstacle(machine, precision) is None else None


def _resolve_checkpointing(config: TrialConfig, machine: Accelerator) -> bool:
    """Resolve `auto` to true if the loss allows it and texts of full length might not fit without it."""
    wanted = config.train.gradient_checkpointing
    if wanted != "auto":
        return wanted
    is_possible = config.loss.name == "mnrl" and config.model.kind != "static" and machine.has_gpu
    return is_possible and estimate_bytes(config, gradient_checkpointing=False) > machine.memory_bytes


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
