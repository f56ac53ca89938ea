"""The machines that a sweep may use: this one, or those of a Ray cluster that is joined for it."""

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
    """What each machine has to share out; a cluster is joined, and stays so.

    InputError with all that is wrong with the cluster's nodes.
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
    """`call(function, *args, **kwargs)` in a newly started process: beside this one, or on the cluster.

    The driver of a cluster may have no GPU, and is not where the trials were measured.
    """
    if config.runner.kind != "cluster":
        return run_in_subprocess
    from embsweep.runners.ray.remote_call import run_remote

    return partial(run_remote, slots)


def close_runner(values: Mapping[str, Any]) -> None:
    """Leave the cluster, if the configuration made this process join one."""
    runner = values.get("runner")
    if isinstance(runner, Mapping) and runner.get("kind") == "cluster" and "ray" in sys.modules:
        from embsweep.runners.cluster.join import leave_cluster

        leave_cluster()
