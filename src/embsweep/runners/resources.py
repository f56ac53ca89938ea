"""Number of concurrent trials and resources of each, from the configuration and the machines' CPUs and GPUs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.gpu_checks import inspect_gpus
from embsweep.core.gpus import Accelerator
from embsweep.training.hardware import find_weakest


@dataclass(frozen=True)
class Machine:
    """CPUs and GPUs of one machine; `accelerators` are its GPUs if they are known, maybe more than a node offers."""

    cpus: int
    gpus: int
    accelerators: tuple[Accelerator, ...] = ()


@dataclass(frozen=True)
class Slots:
    """`count` concurrent trials; `cpus` (and as many threads) and `gpus` are of one trial, shared by its `workers`."""

    count: int
    cpus: int
    gpus: float
    workers: int = 1

    @property
    def cpus_per_worker(self) -> int:
        """CPUs, and therefore threads, of each of a trial's worker processes."""
        return self.cpus // self.workers

    @property
    def gpus_per_worker(self) -> float:
        """GPUs of each of a trial's worker processes."""
        return self.gpus / self.workers


def inspect_machine() -> Machine:
    """Return the CPUs that this process may use, and the GPUs that torch can compute on.

    Raises:
        InputError: If the machine has GPUs that torch cannot compute on.
    """
    gpus = inspect_gpus()
    return Machine(len(os.sched_getaffinity(0)), len(gpus), gpus)


def plan_slots(config: RunnerConfig, machines: Sequence[Machine], trials: int | None = None) -> Slots:
    """Divide the machines' CPUs and GPUs among concurrent trials.

    A worker runs on one machine, and a fraction of a GPU is a share of one GPU. All workers need the same resources, so
    that the number that fits does not depend on how they are placed: no running trial waits for resources that another
    one holds.

    Args:
        config: The runner's configuration.
        machines: The machines that trials may run on; at least one.
        trials: The most trials that will ever run at once, None if unknown.

    Returns:
        The slots. Without `runner.cpus_per_trial`, each worker gets as many CPUs as leave all slots fitting.

    Raises:
        InputError: If a single trial does not fit; it has a diagnostic for each key that requires too much.
    """
    workers, gpus = config.workers_per_trial, _gpus_per_worker(config, machines)
    cpus = None if config.cpus_per_trial is None else config.cpus_per_trial // workers
    fitting = count_fitting_workers(machines, gpus, cpus or 1)
    if fitting < workers:
        raise InputError(_explain(config, machines, gpus, cpus or 1))
    count = min(n for n in (fitting // workers, config.max_concurrent, trials) if n is not None)
    cpus = cpus or _most_cpus(machines, gpus, count * workers)
    return Slots(count, cpus * workers, gpus * workers, workers)


def describe_slots(slots: Slots) -> str:
    """Return text such as `2 at once with 1 CPU and 0.5 GPU each`; with several workers, the share of each worker."""
    share = f"{slots.cpus_per_worker} CPU and {slots.gpus_per_worker:g} GPU"
    if slots.workers == 1:
        return f"{slots.count} at once with {share} each"
    return f"{slots.count} at once on {slots.workers} workers each, a worker with {share}"


def find_weakest_gpu(machines: Iterable[Machine]) -> Accelerator | None:
    """Return `find_weakest` of all GPUs, since a trial may be placed on any of them; None if none is known."""
    known = [gpu for machine in machines if machine.gpus for gpu in machine.accelerators]
    return find_weakest(known) if known else None


def describe_idle_gpus(slots: Slots, machines: Sequence[Machine]) -> str | None:
    """Return a line if GPUs stay idle because each worker needs a CPU, and the machines have fewer of these."""
    if not slots.gpus:
        return None
    gpus, cpus = sum(machine.gpus for machine in machines), sum(machine.cpus for machine in machines)
    fitting = count_fitting_workers(machines, slots.gpus_per_worker, 1)
    if fitting >= gpus * count_shares(slots.gpus_per_worker) or slots.count * slots.workers < fitting:
        return None
    idle = gpus - math.ceil(slots.count * slots.gpus)
    return f"{idle} of {gpus} GPUs stay idle: each process needs a CPU, and there are {cpus}" if idle else None


def count_trials_per_gpu(slots: Slots) -> int:
    """Return how many trials can share a GPU at a time; 1 if each has its own, or none has any."""
    return min(slots.count, count_shares(slots.gpus)) if 0 < slots.gpus < 1 else 1


def count_shares(gpus: float) -> int:
    """Return how many shares of this size (above 0, at most 1) one GPU has."""
    return math.floor(1 / gpus + 1e-9)


def count_fitting_workers(machines: Sequence[Machine], gpus: float, cpus: int) -> int:
    """Return how many workers with `gpus` GPUs (at most one) and `cpus` CPUs fit on `machines`, if they are idle."""
    by_cpu = [machine.cpus // cpus for machine in machines]
    if not gpus:
        return sum(by_cpu)
    by_gpu = [machine.gpus * count_shares(gpus) for machine in machines]
    return sum(map(min, by_cpu, by_gpu))


def _gpus_per_worker(config: RunnerConfig, machines: Sequence[Machine]) -> float:
    if config.gpus_per_trial is not None:
        return config.gpus_per_trial / config.workers_per_trial
    return 1 / config.trials_per_gpu if any(machine.gpus for machine in machines) else 0.0


def _most_cpus(machines: Sequence[Machine], gpus: float, workers: int) -> int:
    """Return the largest number of CPUs per worker with which all `workers` fit, 0 if they never do."""
    most = max(machine.cpus for machine in machines)
    return next((cpus for cpus in range(most, 0, -1) if count_fitting_workers(machines, gpus, cpus) >= workers), 0)


def _explain(config: RunnerConfig, machines: Sequence[Machine], gpus: float, cpus: int) -> list[Diagnostic]:
    """Return why one trial does not fit: it lacks GPUs or CPUs in total or, if both suffice, on the same machine."""
    workers, owner = config.workers_per_trial, "this machine has" if len(machines) == 1 else "the cluster has"
    fewer = "fewer workers (runner.workers_per_trial)" if workers > 1 else None
    diagnostics = []
    if gpus and sum(machine.gpus for machine in machines) * count_shares(gpus) < workers:
        key = "gpus_per_trial" if config.gpus_per_trial is not None else "workers_per_trial"
        total = sum(machine.gpus for machine in machines)
        expected = f"up to {total}" if total else "0"
        problem = f"more GPUs than {owner}"
        diagnostics.append(
            Diagnostic("not-enough-gpus", f"runner.{key}", problem, getattr(config, key), expected, fewer)
        )
    if count_fitting_workers(machines, 0.0, cpus) < workers:
        key = "cpus_per_trial" if config.cpus_per_trial is not None else "workers_per_trial"
        most = (
            workers * _most_cpus(machines, 0.0, workers) if key == "cpus_per_trial" else sum(m.cpus for m in machines)
        )
        problem, limit = f"more CPUs than {owner}", f"up to {most}" if most else None
        diagnostics.append(Diagnostic("not-enough-cpus", f"runner.{key}", problem, getattr(config, key), limit, fewer))
    if diagnostics:
        return diagnostics
    together = count_fitting_workers(machines, gpus, cpus)
    problem = f"only {together} of its workers fit, each with {cpus} CPU and {gpus:g} GPU on one machine"
    hint = "fewer CPUs: runner.cpus_per_trial"
    return [Diagnostic("not-enough-room", "runner.workers_per_trial", problem, workers, hint=hint)]
