"""Whether a trial still finds a place: nodes come and go while a sweep runs, and the dead leave things behind."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from embsweep.runners.ray.workarounds import remove_leaked_placement_groups
from embsweep.runners.resources import Machine, Slots, count_fitting_workers

CAPACITY_TIMEOUT_S = 600.0
"""How long there may be no room for even one trial: nodes that are started anew need minutes."""

_LOOK_EVERY_S = 5.0

log = logging.getLogger(__name__)


@dataclass
class CapacityStatus:
    """What the watch has found: why the sweep was interrupted, or None."""

    problem: str | None = None


@contextmanager
def watch_capacity(slots: Slots, patience_s: float = CAPACITY_TIMEOUT_S) -> Iterator[CapacityStatus]:
    """Inside, this process is interrupted (SIGINT) once no trial has fitted for `patience_s` seconds.

    Otherwise Ray would wait for ever, and say nothing, for a machine that nobody may bring back.
    """
    room, is_over = CapacityStatus(), threading.Event()
    watch = threading.Thread(target=_watch, args=(slots, patience_s, room, is_over), daemon=True)
    watch.start()
    try:
        yield room
    finally:
        is_over.set()
        watch.join()


def _watch(slots: Slots, patience_s: float, room: CapacityStatus, is_over: threading.Event) -> None:
    last_seen = time.monotonic()
    while not is_over.wait(min(_LOOK_EVERY_S, patience_s / 4)):
        try:
            places = count_fitting_workers(slots, _living_machines())
            if slots.workers > 1:
                remove_leaked_placement_groups()
        except Exception:  # the cluster may be on its way out: whoever drives it will be told
            log.warning("the cluster could not be looked at", exc_info=True)
            continue
        if places >= slots.workers:
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > patience_s:
            room.problem = (
                f"a trial needs {slots.workers} workers of {slots.cpus_per_worker} CPUs and {slots.gpus_per_worker:g} "
                f"GPUs, and for {patience_s:.0f} s the cluster's living nodes have had room for {places}"
            )
            os.kill(os.getpid(), signal.SIGINT)
            return


def _living_machines() -> list[Machine]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Machine(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in nodes]
