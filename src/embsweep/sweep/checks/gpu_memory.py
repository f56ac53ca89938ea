"""Check that trials fit into the memory of the GPUs, by measuring the largest one with the settings of the weakest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from embsweep.config import Config, TrialConfig
from embsweep.config.rehearsal import Rehearsal
from embsweep.config.search_space import Value, boundary_values
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.core.gpus import AMPERE, Accelerator
from embsweep.data.collection import Splits
from embsweep.models.copies import copy_model
from embsweep.runners.resources import Slots, count_trials_per_gpu
from embsweep.sweep.request import SweepRequest
from embsweep.training.gpu_memory import Gpu, MemoryUsage, measure_footprint
from embsweep.training.hardware import resolve_hardware, resolve_precision
from embsweep.training.memory_estimate import CONTEXT_BYTES, estimate_memory

GIB = 2**30

MAX_FILL_RATIO = 0.95
"""Share of the free memory that may be planned for, because allocators leave gaps."""


def check_gpu_memory(
    config: TrialConfig,
    splits: Splits,
    slots: Slots,
    *,
    call: Callable[..., Any],
    model_cache: Path | None = None,
    weakest: Accelerator | None = None,
) -> list[Diagnostic]:
    """Check that the trials on a GPU do not run out of memory. Takes half a minute on a GPU.

    The trial is measured in a process of its own, on a GPU of this machine or of the cluster. Nothing is measured if
    trials have no GPU.

    Args:
        config: The point of the space with the largest estimated memory, see `find_largest_trial`.
        splits: The data.
        slots: How many trials run at once, with which share of a GPU.
        call: Runs a function in a new process on a machine of the trials (`Runner.call`).
        model_cache: Folder to which the model is copied, if other machines measure it; see `copy_model`.
        weakest: The GPU on which the trials must fit, see `find_weakest_gpu`; None if the GPUs are not known.

    Returns:
        Diagnostics at `runner.gpus_per_trial`; none if the trials fit.
    """
    if not slots.gpus:
        return []
    trials_per_gpu, smallest_bytes = count_trials_per_gpu(slots), weakest.memory_bytes if weakest else None
    try:
        found = call(
            measure_footprint,
            adapt_to_gpu(config, slots, weakest),
            splits.train,
            corpus_size=len(splits.validation.corpus) + len(splits.validation.queries),
            memory_share=1 / trials_per_gpu,
            smallest_bytes=smallest_bytes,
            models=(copy_model(config.model, model_cache),) if model_cache is not None else (),
        )
    except InputError as error:
        return list(error.diagnostics)
    except EmbsweepError as error:
        return [
            Diagnostic("not-measured", "runner.gpus_per_trial", f"the memory of a trial could not be measured: {error}")
        ]
    return check_memory(scale_to_smallest_gpu(found, smallest_bytes), trials_per_gpu)


def adapt_to_gpu(config: TrialConfig, slots: Slots, weakest: Accelerator | None) -> TrialConfig:
    """Return a trial as one of its workers runs it on the weakest GPU: its share of the batch, settings resolved.

    Measured on a larger GPU, `auto` would choose bf16 where the weakest one trains in float32.

    Raises:
        InputError: If the GPU does not support a setting.
    """
    changes: dict[str, Any] = {"batch_size": max(2, config.train.batch_size // slots.workers)}
    if weakest is not None:
        choice = resolve_hardware(config, weakest, memory_share=1 / count_trials_per_gpu(slots))
        changes |= {"precision": choice.precision, "gradient_checkpointing": choice.gradient_checkpointing}
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def scale_to_smallest_gpu(found: MemoryUsage, smallest_bytes: int | None) -> MemoryUsage:
    """Convert a measured usage to the smallest GPU, assuming that other processes take the same amount of it.

    The usage is returned unchanged if it was measured on the smallest GPU, or if nothing is known about that.
    """
    if found.gpu is None or smallest_bytes is None or smallest_bytes >= found.gpu.total_bytes:
        return found
    taken = found.gpu.total_bytes - found.gpu.free_bytes
    gpu = Gpu("the smallest GPU of the cluster", smallest_bytes, max(0, smallest_bytes - taken))
    return replace(found, gpu=gpu)


def check_memory(found: MemoryUsage, trials_per_gpu: int) -> list[Diagnostic]:
    """Return diagnostics if `trials_per_gpu` trials of this usage do not fit on the GPU; none without a GPU."""
    if found.gpu is None:
        return []
    requested = f"{trials_per_gpu} trial{'s' * (trials_per_gpu > 1)} per GPU"
    if found.peak_bytes is None:
        problem = f"one trial alone runs out of memory on {found.gpu.name} ({gib(found.gpu.free_bytes)} free)"
        return [
            Diagnostic(
                "not-enough-memory", "runner.gpus_per_trial", problem, requested, "a trial that fits", found.advice
            )
        ]
    fits = count_fitting(found.peak_bytes, found.gpu.free_bytes)
    if fits >= trials_per_gpu:
        return []
    problem = (
        f"the largest trial peaks at {gib(found.peak_bytes)}, and {gib(found.gpu.free_bytes)} of "
        f"{gib(found.gpu.total_bytes)} are free on {found.gpu.name}: {fits} fit"
    )
    hint = f"runner.trials_per_gpu={fits}, or smaller trials: {found.advice}" if fits else found.advice
    return [
        Diagnostic(
            "not-enough-memory",
            "runner.gpus_per_trial",
            problem,
            requested,
            f"{1 / fits:.3g} to 1" if fits else None,
            hint,
        )
    ]


def count_fitting(peak_bytes: int, free_bytes: int) -> int:
    """Compute how many trials fit at once.

    Args:
        peak_bytes: Peak memory of one trial, without its process's CUDA context.
        free_bytes: Free memory of the GPU. The CUDA context of the first trial is already subtracted, those of the
            others are not.
    """
    return max(0, int((MAX_FILL_RATIO * free_bytes + CONTEXT_BYTES) // (peak_bytes + CONTEXT_BYTES)))


def find_largest_trial(request: SweepRequest, scale: Rehearsal, weakest: Accelerator | None = None) -> TrialConfig:
    """Return the trial of the space with the largest estimated memory on the weakest GPU (None: one with bf16).

    That is the recipe with each parameter at the end that takes most. If these values cannot be combined, it is the
    largest trial that differs from the recipe in one parameter.
    """
    estimate = partial(_estimate, accelerator=weakest or Accelerator("a GPU", AMPERE))
    worst: dict[str, Value] = {}
    alone = [_compose(request, scale, {})]
    for dimension in request.space:
        ends = ((value, _compose(request, scale, {dimension.key: value})) for value in boundary_values(dimension))
        known = {value: config for value, config in ends if config is not None}
        if known:
            worst[dimension.key] = max(known, key=lambda value: estimate(known[value]))
            alone.append(known[worst[dimension.key]])
    candidates = [config for config in (*alone, _compose(request, scale, worst)) if config is not None]
    return max(candidates, key=estimate).trial


def _compose(request: SweepRequest, scale: Rehearsal, point: dict[str, Value]) -> Config | None:
    """Return the configuration of a point as it would run; None if it is invalid, which `validate_space` reports."""
    try:
        return scale.apply(request.configure(point))
    except InputError:
        return None


def _estimate(config: Config, accelerator: Accelerator) -> int:
    """Return the estimated peak of training; `gradient_checkpointing=auto` counts as off, since it helps if needed."""
    precision = resolve_precision(config.trial, accelerator)
    is_recomputed = config.train.gradient_checkpointing is True
    return estimate_memory(config.trial, precision, gradient_checkpointing=is_recomputed).training


def gib(size_bytes: int) -> str:
    """Return text such as `14.6 GiB`."""
    return f"{size_bytes / GIB:.1f} GiB"
