"""Run a function in a new process on a cluster node, with the resources of one worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from embsweep.core.errors import EmbsweepError
from embsweep.runners.ray.workarounds import remove_leaked_placement_groups
from embsweep.runners.resources import Slots

R = TypeVar("R")

log = logging.getLogger(__name__)


_POLL_EVERY_S = 5.0
_LOG_EVERY = 12
"""Polls between two lines in the log."""


def run_remote(slots: Slots, function: Callable[..., R], *args: Any, **keywords: Any) -> R:
    """Return `function(*args, **keywords)`, run on a cluster node; an exception of the function is raised here.

    Like `core.subprocess.run_in_subprocess`, but for a driver that has neither a GPU nor CPU time to spare. Blocks
    until resources are free and logs a line every minute while waiting.

    Raises:
        EmbsweepError: If the process dies.
    """
    task: Any = ray.remote(max_calls=1, num_cpus=slots.cpus_per_worker, num_gpus=slots.gpus_per_worker)(_call)
    reference = task.remote(function, args, keywords)
    _wait(reference, getattr(function, "__name__", "?"))
    try:
        returned: R = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise EmbsweepError(f"a process on the cluster died ({type(error).__name__})") from error
    return returned


def _wait(reference: Any, name: str) -> None:
    """Wait for the result, removing placement groups of stopped trials that would block the call."""
    polls = 0
    while not ray.wait([reference], timeout=_POLL_EVERY_S)[0]:
        polls += 1
        remove_leaked_placement_groups()
        if polls % _LOG_EVERY == 0:
            log.warning("%s on the cluster is not done yet, or waits for resources", name)


def _call(function: Callable[..., R], args: tuple[Any, ...], keywords: dict[str, Any]) -> R:
    return function(*args, **keywords)
