"""Watch cluster capacity, since nodes join and leave: abort the sweep if no trial has fitted for ten minutes."""

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

from embsweep.runners.resources import Machine, Slots, count_fitting_workers

CAPACITY_TIMEOUT_S = 600.0
"""Longest time without capacity for a single trial, in seconds: nodes that are restarted need minutes."""

_POLL_EVERY_S = 5.0

log = logging.getLogger(__name__)


@dataclass
class CapacityStatus:
    """Result of the watch: the reason for interrupting the sweep, or None."""

    problem: str | None = None


@contextmanager
def watch_capacity(slots: Slots, patience_s: float = CAPACITY_TIMEOUT_S) -> Iterator[CapacityStatus]:
    """Inside, this process is interrupted (SIGINT) once no trial has fitted for `patience_s` seconds.

    Otherwise Ray would wait silently and without limit for a machine that may never return. The capacity is polled in a
    daemon thread.
    """
    capacity, is_over = CapacityStatus(), threading.Event()
    watch = threading.Thread(target=_watch, args=(slots, patience_s, capacity, is_over), daemon=True)
    watch.start()
    try:
        yield capacity
    finally:
        is_over.set()
        watch.join()


def _watch(slots: Slots, patience_s: float, capacity: CapacityStatus, is_over: threading.Event) -> None:
    last_seen = time.monotonic()
    while not is_over.wait(min(_POLL_EVERY_S, patience_s / 4)):
        try:
            fitting = count_fitting_workers(slots, _living_machines())
        except Exception:  # the cluster may be shutting down, which then fails `Tuner.fit` itself
            log.warning("the cluster's nodes could not be listed", exc_info=True)
            continue
        if fitting >= slots.workers:
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > patience_s:
            capacity.problem = (
                f"a trial needs {slots.workers} workers of {slots.cpus_per_worker} CPUs and {slots.gpus_per_worker:g} "
                f"GPUs, but for {patience_s:.0f} s the cluster's live nodes could hold only {fitting}"
            )
            os.kill(os.getpid(), signal.SIGINT)
            return


def _living_machines() -> list[Machine]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Machine(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in nodes]
