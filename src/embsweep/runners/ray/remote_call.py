"""A call in a newly started process on some node of the cluster, with a worker's share of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from embsweep.core.errors import EmbsweepError
from embsweep.runners.ray.object_store import ObjectRefs, get_all, put_all
from embsweep.runners.ray.workarounds import remove_leaked_placement_groups
from embsweep.runners.resources import Slots

R = TypeVar("R")

log = logging.getLogger(__name__)


_LOOK_EVERY_S = 5.0
_SAY_EVERY = 12
"""Looks between two lines in the log."""


def run_remote(slots: Slots, function: Callable[..., R], *args: Any, **shipped: Any) -> R:
    """`function(*args, **shipped)` on the cluster; its exceptions are raised here. What is `shipped` travels in chunks.

    As `trial.fresh.run_in_subprocess`, for a driver that has neither a GPU nor time. Waits for a free place, as a trial would,
    and says so in the log. EmbsweepError if the process dies.
    """
    task: Any = ray.remote(max_calls=1, num_cpus=slots.cpus_per_worker, num_gpus=slots.gpus_per_worker)(_call)
    reference = task.remote(function, args, put_all(shipped, to_other_machines=True))
    _wait(reference, getattr(function, "__name__", "?"))
    try:
        found: R = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise EmbsweepError(f"a process on the cluster died ({type(error).__name__})") from error
    return found


def _wait(reference: Any, name: str) -> None:
    """Until it is done; what the workers of a trial that was stopped last have left behind would be waited for too."""
    looks = 0
    while not ray.wait([reference], timeout=_LOOK_EVERY_S)[0]:
        looks += 1
        remove_leaked_placement_groups()
        if looks % _SAY_EVERY == 0:
            log.warning("%s on the cluster is not done yet, or waits for a free place", name)


def _call(function: Callable[..., R], args: tuple[Any, ...], refs: ObjectRefs) -> R:
    return function(*args, **get_all(refs))
