"""How many trials run at once, and with what: from the configuration and what the machine has."""

from __future__ import annotations

import os
from dataclasses import dataclass

from embsweep.config.machinery import RunnerConfig
from embsweep.errors import Fault, InputError


@dataclass(frozen=True)
class Machine:
    """What there is to share out."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Slots:
    """`count` trials at once, each with `cpus` CPUs (and as many threads) and `gpus` GPUs."""

    count: int
    cpus: int
    gpus: float


def inspect_machine() -> Machine:
    """CPUs that this process may use, and CUDA devices."""
    import torch

    return Machine(len(os.sched_getaffinity(0)), torch.cuda.device_count())


def plan_slots(config: RunnerConfig, machine: Machine, trials: int | None = None) -> Slots:
    """Share the machine out among at most `trials`. InputError with every key that asks for more than there is."""
    if config.kind == "inline":
        return Slots(1, config.cpus_per_trial or machine.cpus, float(min(machine.gpus, 1)))
    gpus = config.gpus_per_trial
    if gpus is None:
        gpus = 1 / config.trials_per_gpu if machine.gpus else 0.0
    by_gpu = int(machine.gpus / gpus + 1e-9) if gpus else machine.cpus
    by_cpu = machine.cpus // config.cpus_per_trial if config.cpus_per_trial else machine.cpus
    _check(config, machine, by_gpu, by_cpu)
    count = min(n for n in (by_gpu, by_cpu, config.max_concurrent, trials) if n is not None)
    return Slots(count, config.cpus_per_trial or max(1, machine.cpus // count), gpus)


def _check(config: RunnerConfig, machine: Machine, by_gpu: int, by_cpu: int) -> None:
    faults = []
    if by_gpu < 1:
        accepted = "0" if not machine.gpus else f"up to {machine.gpus}"
        faults.append(Fault("runner.gpus_per_trial", "more than this machine has", config.gpus_per_trial, accepted))
    if by_cpu < 1:
        faults.append(
            Fault("runner.cpus_per_trial", "more than this machine has", config.cpus_per_trial, f"1 to {machine.cpus}")
        )
    if faults:
        raise InputError(faults)
