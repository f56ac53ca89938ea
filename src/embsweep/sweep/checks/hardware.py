"""Check that the GPUs support precision, attention and model of every trial, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embsweep.config import Config, TrialConfig
from embsweep.config.rehearsal import Rehearsal
from embsweep.config.search_space import boundary_values
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.gpus import Accelerator, describe_gpu
from embsweep.runners.resources import Machine, Slots, count_trials_per_gpu, find_weakest_gpu
from embsweep.sweep.checks.gpu_memory import find_largest_trial, gib
from embsweep.sweep.checks.inputs import attempt, deduplicate
from embsweep.sweep.checks.search_space import in_space
from embsweep.sweep.request import SweepRequest
from embsweep.training.hardware import resolve_hardware
from embsweep.training.memory_estimate import estimate_memory


def validate_hardware(
    request: SweepRequest, scale: Rehearsal, recipe: Config, slots: Slots, machines: Sequence[Machine]
) -> list[Diagnostic]:
    """Check the recipe, and the space's end points and options, on each kind of accelerator that a trial may get.

    Args:
        request: The request.
        scale: Full scale or rehearsal.
        recipe: The scaled recipe.
        slots: The resources of a trial.
        machines: The machines that trials may run on.

    Returns:
        Diagnostics at the keys that ask for something unavailable; none if the GPUs are not known.
    """
    kinds = find_kinds(slots, machines)
    diagnostics = [*_check_trial(recipe.trial, kinds)]
    for dimension in request.space:
        for value in boundary_values(dimension):
            config, _ = attempt(request.configure, {dimension.key: value})  # invalid ones are reported with the space
            found = _check_trial(scale.apply(config).trial, kinds) if config is not None else ()
            diagnostics.extend(in_space(d, dimension, value) for d in found if d not in diagnostics)
    weakest = find_weakest_gpu(machines) if slots.gpus else None
    if not diagnostics and weakest is not None:
        diagnostics.extend(_check_weights(find_largest_trial(request, scale, weakest), weakest, slots))
    return deduplicate(diagnostics)


def find_kinds(slots: Slots, machines: Sequence[Machine]) -> tuple[Accelerator, ...]:
    """Return one accelerator of each kind that a trial may run on; the CPU if it gets no GPU, none if not known."""
    if not slots.gpus:
        return (Accelerator(),)
    known = (gpu for machine in machines if machine.gpus for gpu in machine.accelerators)
    return tuple({(gpu.name, gpu.capability): gpu for gpu in known}.values())


def _check_trial(config: TrialConfig, kinds: Sequence[Accelerator]) -> Iterator[Diagnostic]:
    for kind in kinds:
        try:
            resolve_hardware(config, kind)
        except InputError as error:
            yield from error.diagnostics


def _check_weights(config: TrialConfig, weakest: Accelerator, slots: Slots) -> Iterator[Diagnostic]:
    """Refuse a model whose weights, gradients and optimizer alone exceed a trial's share: no other setting helps."""
    share = weakest.memory_bytes / count_trials_per_gpu(slots)
    estimate = estimate_memory(config, "bf16", gradient_checkpointing=True)
    if estimate.fixed > share:
        problem = (
            f"weights, gradients and optimizer of model '{config.model.name}' take about {gib(estimate.fixed)}, and a "
            f"trial has {gib(int(share))} of {describe_gpu(weakest)}"
        )
        yield Diagnostic("not-enough-memory", "model", problem, None, "a smaller model, or a larger share of a GPU")
