"""Choose the class of a sweep's runner."""

from __future__ import annotations

from pathlib import Path

from embsweep.config.sweep import RunnerConfig
from embsweep.runners.base import Runner
from embsweep.runners.inline import InlineRunner


def open_runner(config: RunnerConfig, storage: Path) -> Runner:
    """Return the runner of `runner.kind`; nothing is started or contacted yet.

    Args:
        config: The runner's configuration.
        storage: The storage folder, which every node of a cluster must be able to read and write.
    """
    match config.kind:
        case "inline":
            return InlineRunner()
        case "ray":
            from embsweep.runners.ray.runner import RayRunner  # importing Ray takes seconds

            return RayRunner()
        case "cluster":
            from embsweep.runners.cluster.runner import ClusterRunner

            return ClusterRunner(config, storage)
