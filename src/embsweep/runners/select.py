"""Select the machines of a sweep: this one, or the nodes of a Ray cluster that this process joins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from embsweep.config import Config
from embsweep.core.subprocess import run_in_subprocess
from embsweep.runners.ray.environment import WORKER_ENVIRONMENT
from embsweep.runners.resources import Machine, Slots, inspect_machine


def list_machines(config: Config, storage: Path) -> tuple[Machine, ...]:
    """Return the CPUs and GPUs of each machine; join the cluster and stay connected if `runner.kind` is `cluster`.

    Args:
        config: The sweep's configuration.
        storage: The storage folder, which every node of a cluster must be able to read and write.

    Returns:
        This machine, or the living nodes of the cluster with the memory of the smallest GPU of each.

    Raises:
        InputError: If a cluster cannot be joined or its nodes fail a check; it has a diagnostic for every problem.
    """
    if config.runner.kind != "cluster":
        return (inspect_machine(),)
    from embsweep.runners.cluster.join import inspect_cluster  # importing Ray takes seconds

    nodes = inspect_cluster(
        config.runner,
        storage=storage,
        tracking_uri=config.tracking.uri,
        init_options={"runtime_env": {"env_vars": WORKER_ENVIRONMENT}},
    )
    return tuple(Machine(int(n.cpus), int(n.gpus), min(n.gpu_memory_bytes, default=None)) for n in nodes)


def select_call(config: Config, slots: Slots) -> Callable[..., Any]:
    """Return `call(function, *args, **kwargs)`, which runs the function in a new process, here or on the cluster.

    With a cluster it runs on a node: the driver may have no GPU, and is not the machine that the trials were measured
    on.
    """
    if config.runner.kind != "cluster":
        return run_in_subprocess
    from embsweep.runners.ray.remote_call import run_remote

    return partial(run_remote, slots)


def close_runner(values: Mapping[str, Any]) -> None:
    """Disconnect from the cluster if the configuration `values` has `runner.kind: cluster` and Ray was imported."""
    runner = values.get("runner")
    if isinstance(runner, Mapping) and runner.get("kind") == "cluster" and "ray" in sys.modules:
        from embsweep.runners.cluster.join import leave_cluster

        leave_cluster()
