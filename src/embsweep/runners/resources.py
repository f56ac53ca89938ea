"""Number of concurrent trials and resources of each, from the configuration and the machines' CPUs and GPUs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import Diagnostic, InputError


@dataclass(frozen=True)
class Machine:
    """CPUs and GPUs of one machine; `gpu_bytes` is the memory of its smallest GPU in bytes, None if not queried."""

    cpus: int
    gpus: int
    gpu_bytes: int | None = None


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
    """Return the CPUs that this process may use and the number of CUDA devices; GPU memory is not queried."""
    import torch

    return Machine(len(os.sched_getaffinity(0)), torch.cuda.device_count())


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
    _check(config, machines, gpus, cpus)
    fitting = sum(_count_workers(machine, gpus, cpus or 1) for machine in machines) // workers
    count = min(n for n in (fitting, config.max_concurrent, trials) if n is not None)
    cpus = cpus or _share_cpus(machines, gpus, count * workers)
    return Slots(count, cpus * workers, gpus * workers, workers)


def describe_slots(slots: Slots) -> str:
    """Return text such as `2 at once with 1 CPU and 0.5 GPU each`; with several workers, the share of each worker."""
    share = f"{slots.cpus_per_worker} CPU and {slots.gpus_per_worker:g} GPU"
    if slots.workers == 1:
        return f"{slots.count} at once with {share} each"
    return f"{slots.count} at once on {slots.workers} workers each, a worker with {share}"


def find_smallest_gpu(machines: Iterable[Machine]) -> int | None:
    """Return the memory in bytes of the smallest GPU of `machines`, None if none is known."""
    return min((machine.gpu_bytes for machine in machines if machine.gpu_bytes is not None), default=None)


def count_shares(gpus: float) -> int:
    """Return how many shares of this size (above 0, at most 1) one GPU has."""
    return math.floor(1 / gpus + 1e-9)


def count_fitting_workers(slots: Slots, machines: Sequence[Machine]) -> int:
    """Return how many workers of these slots fit on `machines`, if nothing else runs there."""
    return sum(_count_workers(machine, slots.gpus_per_worker, slots.cpus_per_worker) for machine in machines)


def _gpus_per_worker(config: RunnerConfig, machines: Sequence[Machine]) -> float:
    if config.gpus_per_trial is not None:
        return config.gpus_per_trial / config.workers_per_trial
    return 1 / config.trials_per_gpu if any(machine.gpus for machine in machines) else 0.0


def _count_workers(machine: Machine, gpus: float, cpus: int) -> int:
    """Return how many workers with `gpus` GPUs (at most one) and `cpus` CPUs each fit on one machine."""
    by_cpu = machine.cpus // cpus
    return min(by_cpu, machine.gpus * count_shares(gpus)) if gpus else by_cpu


def _share_cpus(machines: Sequence[Machine], gpus: float, workers: int) -> int:
    """Return the largest number of CPUs per worker with which all `workers` fit."""
    most = max(machine.cpus for machine in machines)
    return next(cpus for cpus in range(most, 0, -1) if sum(_count_workers(m, gpus, cpus) for m in machines) >= workers)


def _largest_share(machines: Sequence[Machine], workers: int) -> int:
    """Return the largest number of CPUs of a whole trial with which its workers fit, 0 if they never do."""
    most = max(machine.cpus for machine in machines)
    fits = (cpus for cpus in range(most, 0, -1) if sum(machine.cpus // cpus for machine in machines) >= workers)
    return workers * next(fits, 0)


def _check(config: RunnerConfig, machines: Sequence[Machine], gpus: float, cpus: int | None) -> None:
    """Raise InputError if one trial lacks GPUs or CPUs in total or, if both suffice, on the same machine."""
    workers, owner = config.workers_per_trial, "this machine has" if len(machines) == 1 else "the cluster has"
    by_gpu = sum(machine.gpus * count_shares(gpus) for machine in machines) if gpus else workers
    by_cpu = sum(machine.cpus // (cpus or 1) for machine in machines)
    together = sum(_count_workers(machine, gpus, cpus or 1) for machine in machines)
    total_gpus = sum(machine.gpus for machine in machines)
    fewer = "fewer workers (runner.workers_per_trial)" if workers > 1 else None
    diagnostics = []
    if by_gpu < workers:
        key = "gpus_per_trial" if config.gpus_per_trial is not None else "workers_per_trial"
        expected = f"up to {total_gpus}" if total_gpus else "0"
        diagnostics.append(
            Diagnostic(
                "not-enough-gpus", f"runner.{key}", f"more GPUs than {owner}", getattr(config, key), expected, fewer
            )
        )
    if by_cpu < workers:
        key = "cpus_per_trial" if config.cpus_per_trial is not None else "workers_per_trial"
        most = _largest_share(machines, workers) if key == "cpus_per_trial" else sum(m.cpus for m in machines)
        cpu_limit = f"up to {most}" if most else None
        diagnostics.append(
            Diagnostic(
                "not-enough-cpus", f"runner.{key}", f"more CPUs than {owner}", getattr(config, key), cpu_limit, fewer
            )
        )
    if not diagnostics and together < workers:
        problem = f"only {together} of its workers fit, each with {cpus or 1} CPU and {gpus:g} GPU on one machine"
        diagnostics.append(
            Diagnostic(
                "not-enough-room",
                "runner.workers_per_trial",
                problem,
                workers,
                hint="fewer CPUs: runner.cpus_per_trial",
            )
        )
    if diagnostics:
        raise InputError(diagnostics)
