"""Run trials on the nodes of a running Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import EmbsweepError
from embsweep.runners.cluster.inspection import find_address, inspect_cluster
from embsweep.runners.ray.environment import WORKER_ENVIRONMENT
from embsweep.runners.ray.runner import RayRunner
from embsweep.runners.ray.session import connect
from embsweep.runners.resources import Machine

R = TypeVar("R")

_LOG_EVERY_S = 60.0

log = logging.getLogger(__name__)


class ClusterRunner(RayRunner):
    """Runs trials on a cluster that it joins, and in which it starts nothing but them.

    Args:
        config: The runner's configuration, with the cluster's address.
        storage: The storage folder, which every node must be able to read and write.
    """

    is_remote: ClassVar[bool] = True

    def __init__(self, config: RunnerConfig, storage: Path, **options: Any) -> None:
        super().__init__(**options)
        self._config = config
        self._storage = storage

    def machines(self) -> tuple[Machine, ...]:
        """Inspect the cluster and return its living nodes; nodes that join later are not seen. See `Runner.machines`.

        Raises:
            InputError: If the cluster cannot be joined or a node fails a check; nothing was started there.
        """
        return inspect_cluster(find_address(self._config.address), self._storage)

    def connect(self) -> None:
        """Join the cluster, unless this process is connected to it."""
        address = find_address(self._config.address)
        if ray.is_initialized() and ray.get_runtime_context().gcs_address == address:
            return
        ray.shutdown()  # disconnect from another one, of an earlier sweep in this process
        connect(address, runtime_env={"env_vars": WORKER_ENVIRONMENT})

    def call(self, function: Callable[..., R], *args: Any, in_new_process: bool = True, **keywords: Any) -> R:
        """Run a function in a new process on a node, with the resources of one worker; see `Runner.call`.

        The driver may have no GPU. Blocks until resources are free and logs a line every minute while waiting.
        """
        self.connect()
        slots = self._slots
        task: Any = ray.remote(max_calls=1, num_cpus=slots.cpus_per_worker, num_gpus=slots.gpus_per_worker)(function)
        reference = task.remote(*args, **keywords)
        while not ray.wait([reference], timeout=_LOG_EVERY_S)[0]:
            log.warning("%s on the cluster is not done yet, or waits for resources", function.__name__)
        try:
            returned: R = ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise EmbsweepError(f"a process on the cluster died ({type(error).__name__})") from error
        return returned

    def close(self) -> None:
        """Disconnect; the cluster stays as it was."""
        ray.shutdown()
