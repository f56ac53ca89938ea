"""Whether the trials that are to share a GPU fit on it together, by measuring the one that takes most."""

from __future__ import annotations

from dataclasses import replace

from embsweep.config import Config, TrialConfig, build_config
from embsweep.config.rehearsal import Rehearsal
from embsweep.config.search_space import Value, boundary_values
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.data.collection import Splits
from embsweep.models.snapshot import find_snapshot
from embsweep.runners.resources import Slots, count_shares
from embsweep.runners.select import select_call
from embsweep.sweep.request import SweepRequest
from embsweep.training.gpu_memory import Gpu, MemoryUsage, measure_footprint
from embsweep.training.hardware import estimate_bytes

GIB = 2**30
CONTEXT_BYTES = GIB // 2
"""What CUDA takes of the card for each process, outside of torch's books: 0.3 to 0.6 GiB with its libraries."""

MAX_FILL_RATIO = 0.95
"""Share of the free memory that may be planned for: allocators leave gaps."""


def count_sharing(slots: Slots) -> int:
    """How many trials can be on one GPU at once; 1 where each has its own, or none has any."""
    return min(slots.count, count_shares(slots.gpus)) if 0 < slots.gpus < 1 else 1


def check_gpu_memory(
    request: SweepRequest, scale: Rehearsal, splits: Splits, slots: Slots, *, smallest_bytes: int | None = None
) -> list[Diagnostic]:
    """Faults at `runner.gpus_per_trial` where the trials of a GPU might run out of memory; half a minute on a GPU.

    Measured is the point of the space that is estimated to take most, in a process of its own on a GPU of this machine
    or of the cluster; `smallest_bytes` is what the smallest card has where cards differ, and they must fit on that.
    Nothing is done where a trial has its GPU for itself.
    """
    trials_per_gpu = count_sharing(slots)
    if trials_per_gpu < 2:
        return []
    config = find_largest_trial(request, scale)
    texts = len(splits.validation.corpus) + len(splits.validation.queries)
    call = select_call(build_config(request.values), slots)
    snapshot = find_snapshot(config.model)
    try:
        found = call(
            measure_footprint,
            config,
            splits.train,
            corpus_size=texts,
            memory_share=1 / trials_per_gpu,
            models=() if snapshot is None else (snapshot,),
        )
    except InputError as error:
        return list(error.diagnostics)
    except EmbsweepError as error:
        return [
            Diagnostic("not-measured", "runner.gpus_per_trial", f"the memory of a trial could not be measured: {error}")
        ]
    return check_memory(scale_to_smallest_gpu(found, smallest_bytes), trials_per_gpu)


def scale_to_smallest_gpu(found: MemoryUsage, smallest_bytes: int | None) -> MemoryUsage:
    """What was measured, as if on the smallest card, with as much of it taken by others; unchanged where that is it."""
    if found.gpu is None or smallest_bytes is None or smallest_bytes >= found.gpu.total_bytes:
        return found
    taken = found.gpu.total_bytes - found.gpu.free_bytes
    gpu = Gpu("the smallest GPU of the cluster", smallest_bytes, max(0, smallest_bytes - taken))
    return replace(found, gpu=gpu)


def check_memory(found: MemoryUsage, trials_per_gpu: int) -> list[Diagnostic]:
    """Faults where `trials_per_gpu` trials of this footprint do not fit beside each other; none without a GPU."""
    if found.gpu is None:
        return []
    asked = f"{trials_per_gpu} trials a GPU"
    if found.peak_bytes is None:
        problem = f"one trial alone runs out of memory on {found.gpu.name} ({_gib(found.gpu.free_bytes)} free)"
        return [
            Diagnostic("not-enough-memory", "runner.gpus_per_trial", problem, asked, "a trial that fits", found.advice)
        ]
    fits = count_fitting(found.peak_bytes, found.gpu.free_bytes)
    if fits >= trials_per_gpu:
        return []
    problem = (
        f"the largest trial takes {_gib(found.peak_bytes)} at its peak, and {_gib(found.gpu.free_bytes)} of "
        f"{_gib(found.gpu.total_bytes)} are free on {found.gpu.name}: {fits} fit"
    )
    hint = f"runner.trials_per_gpu={fits}, or trials that take less" if fits else "trials that take less"
    return [
        Diagnostic(
            "not-enough-memory", "runner.gpus_per_trial", problem, asked, f"{1 / fits:.3g} to 1" if fits else None, hint
        )
    ]


def count_fitting(peak_bytes: int, free_bytes: int) -> int:
    """Trials that fit at once. The first one's context is taken from `free_bytes` already, the others' are not."""
    return max(0, int((MAX_FILL_RATIO * free_bytes + CONTEXT_BYTES) // (peak_bytes + CONTEXT_BYTES)))


def find_largest_trial(request: SweepRequest, scale: Rehearsal) -> TrialConfig:
    """The trial of the space that is estimated to take most: the recipe, with each parameter at its worst end.

    Where those cannot be combined, the worst that comes of one parameter alone.
    """
    worst: dict[str, Value] = {}
    alone = [_compose(request, scale, {})]
    for dimension in request.space:
        ends = {value: _compose(request, scale, {dimension.key: value}) for value in boundary_values(dimension)}
        known = {value: config for value, config in ends.items() if config is not None}
        if known:
            worst[dimension.key] = max(known, key=lambda value: _estimate(known[value]))
            alone.append(known[worst[dimension.key]])
    candidates = [config for config in (*alone, _compose(request, scale, worst)) if config is not None]
    return max(candidates, key=_estimate).trial


def _compose(request: SweepRequest, scale: Rehearsal, point: dict[str, Value]) -> Config | None:
    """A point as it would run, or None where it is no valid configuration: the check of the space says so."""
    try:
        return scale.apply(build_config(request.compose(point)))
    except InputError:
        return None


def _estimate(config: Config) -> int:
    checkpointing = config.train.gradient_checkpointing is True
    return estimate_bytes(config.trial, gradient_checkpointing=checkpointing)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
