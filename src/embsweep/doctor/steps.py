"""The steps in their order, each with what it checks. Their modules import torch and the trainer, so they come late."""

from __future__ import annotations

from importlib import import_module

from embsweep.doctor.isolation import Step
from embsweep.doctor.setup import Setup


class _Call:
    """A step's function by name: its module is imported in the step's own process."""

    def __init__(self, module: str, function: str) -> None:
        self._module, self._function = module, function

    def __call__(self, setup: Setup) -> str:
        figures: str = getattr(import_module(f"embsweep.doctor.{self._module}"), self._function)(setup)
        return figures


STEPS = (
    Step(
        "1 views", "driver and torch agree, each kind of GPU computes", _Call("steps_arithmetic", "check_views"), True
    ),
    Step(
        "2 precision",
        "products in float32 and tf32 have the errors of their formats",
        _Call("steps_arithmetic", "check_precision"),
        True,
    ),
    Step(
        "3 evaluation",
        "embeddings and metrics are those of the CPU",
        _Call("steps_evaluation", "check_evaluation"),
        True,
    ),
    Step(
        "4 trials",
        "trials of every precision in one process free their memory and reproduce their scores",
        _Call("steps_trial", "check_trials"),
    ),
    Step("5 resume", "a killed trial resumes as if it had not been killed", _Call("steps_trial", "check_resume")),
    Step(
        "6 memory",
        "a trial that runs out of memory says so, and the cached loss fits",
        _Call("steps_memory", "check_out_of_memory"),
    ),
    Step("7 mini-batch", "the mini-batch that auto measures trains", _Call("steps_memory", "check_mini_batch")),
    Step(
        "8 sweep",
        "a sweep with Ray, one trial on a GPU and then two",
        _Call("steps_sweep", "check_sweep"),
        timeout_s=500.0,
    ),
    Step(
        "9 assert",
        "a failed kernel is recognised and the next process works",
        _Call("steps_arithmetic", "check_broken_context"),
        True,
    ),
    Step("10 bge-m3", "speed and memory of bge-m3's shape", _Call("steps_speed", "check_speed")),
    Step("11 workers", "two workers over NCCL train like one process", _Call("steps_workers", "check_workers")),
)
