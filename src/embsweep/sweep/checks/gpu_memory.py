"""Check that the trials that share a GPU fit into its memory together, by measuring the largest one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from embsweep.config import Config, TrialConfig
from embsweep.config.rehearsal import Rehearsal
from embsweep.config.search_space import Value, boundary_values
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.data.collection import Splits
from embsweep.models.copies import copy_model
from embsweep.runners.resources import Slots, count_shares
from embsweep.sweep.request import SweepRequest
from embsweep.training.gpu_memory import Gpu, MemoryUsage, measure_footprint
from embsweep.training.hardware import estimate_bytes

GIB = 2**30
CONTEXT_BYTES = GIB // 2
"""GPU memory of each process's CUDA context, which torch does not count: 0.3 to 0.6 GiB with its libraries."""

MAX_FILL_RATIO = 0.95
"""Share of the free memory that may be planned for, because allocators leave gaps."""


def count_trials_per_gpu(slots: Slots) -> int:
    """Return how many trials can share a GPU at a time; 1 if each has its own, or none has any."""
    return min(slots.count, count_shares(slots.gpus)) if 0 < slots.gpus < 1 else 1


def check_gpu_memory(
    config: TrialConfig,
    splits: Splits,
    slots: Slots,
    *,
    call: Callable[..., Any],
    model_cache: Path | None = None,
    smallest_bytes: int | None = None,
) -> list[Diagnostic]:
    """Check that the trials that share a GPU do not run out of memory. Takes half a minute on a GPU.

    The trial is measured in a process of its own, on a GPU of this machine or of the cluster. Nothing is measured if no
    two trials share a GPU.

    Args:
        config: The point of the space with the largest estimated memory, see `find_largest_trial`.
        splits: The data.
        slots: How many trials run at once, with which share of a GPU.
        call: Runs a function in a new process on a machine of the trials (`Runner.call`).
        model_cache: Folder to which the model is copied, if other machines measure it; see `copy_model`.
        smallest_bytes: Memory of the smallest GPU that a trial may be placed on. The trials must fit on that one; None
            if the GPUs' memory is not known.

    Returns:
        Diagnostics at `runner.gpus_per_trial`; none if the trials fit.
    """
    trials_per_gpu = count_trials_per_gpu(slots)
    if trials_per_gpu < 2:
        return []
    try:
        found = call(
            measure_footprint,
            config,
            splits.train,
            corpus_size=len(splits.validation.corpus) + len(splits.validation.queries),
            memory_share=1 / trials_per_gpu,
            models=(copy_model(config.model, model_cache),) if model_cache is not None else (),
        )
    except InputError as error:
        return list(error.diagnostics)
    except EmbsweepError as error:
        return [
            Diagnostic("not-measured", "runner.gpus_per_trial", f"the memory of a trial could not be measured: {error}")
        ]
    return check_memory(scale_to_smallest_gpu(found, smallest_bytes), trials_per_gpu)


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
    requested = f"{trials_per_gpu} trials per GPU"
    if found.peak_bytes is None:
        problem = f"one trial alone runs out of memory on {found.gpu.name} ({_gib(found.gpu.free_bytes)} free)"
        return [
            Diagnostic(
                "not-enough-memory", "runner.gpus_per_trial", problem, requested, "a trial that fits", found.advice
            )
        ]
    fits = count_fitting(found.peak_bytes, found.gpu.free_bytes)
    if fits >= trials_per_gpu:
        return []
    problem = (
        f"the largest trial peaks at {_gib(found.peak_bytes)}, and {_gib(found.gpu.free_bytes)} of "
        f"{_gib(found.gpu.total_bytes)} are free on {found.gpu.name}: {fits} fit"
    )
    hint = f"runner.trials_per_gpu={fits}, or smaller trials" if fits else "use smaller trials"
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


def find_largest_trial(request: SweepRequest, scale: Rehearsal) -> TrialConfig:
    """Return the trial of the space with the largest estimated memory.

    That is the recipe with each parameter at the end that takes most. If these values cannot be combined, it is the
    largest trial that differs from the recipe in one parameter.
    """
    worst: dict[str, Value] = {}
    alone = [_compose(request, scale, {})]
    for dimension in request.space:
        ends = ((value, _compose(request, scale, {dimension.key: value})) for value in boundary_values(dimension))
        known = {value: config for value, config in ends if config is not None}
        if known:
            worst[dimension.key] = max(known, key=lambda value: _estimate(known[value]))
            alone.append(known[worst[dimension.key]])
    candidates = [config for config in (*alone, _compose(request, scale, worst)) if config is not None]
    return max(candidates, key=_estimate).trial


def _compose(request: SweepRequest, scale: Rehearsal, point: dict[str, Value]) -> Config | None:
    """Return the configuration of a point as it would run; None if it is invalid, which `validate_space` reports."""
    try:
        return scale.apply(request.configure(point))
    except InputError:
        return None


def _estimate(config: Config) -> int:
    return estimate_bytes(config.trial, gradient_checkpointing=config.train.gradient_checkpointing is True)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
