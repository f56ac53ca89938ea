"""Watch cluster capacity, since nodes join and leave: end the sweep if no trial has fitted for ten minutes."""

from __future__ import annotations

import time

import ray

from embsweep.core.errors import CodedError
from embsweep.runners.resources import Machine, Slots, count_fitting_workers, count_shares

CAPACITY_TIMEOUT_S = 600.0
"""Longest time without capacity for a single trial, in seconds: nodes that are restarted need minutes."""

_POLL_EVERY_S = 5.0


class CapacityWatch:
    """Notices that no trial fits any more; Ray would wait silently and without limit for machines to return.

    Args:
        slots: The resources of a trial.
        patience_s: Longest time without capacity, in seconds.
    """

    def __init__(self, slots: Slots, patience_s: float = CAPACITY_TIMEOUT_S) -> None:
        self._slots = slots
        self._patience_s = patience_s
        self._polled_at = self._fitted_at = time.monotonic()

    def require(self) -> None:
        """Check that a trial has fitted lately; the nodes are listed every five seconds at most.

        Raises:
            CodedError: If none has fitted for `patience_s` seconds (`not-enough-room`).
        """
        slots, now = self._slots, time.monotonic()
        if now - self._polled_at < min(_POLL_EVERY_S, self._patience_s / 4):
            return
        self._polled_at = now
        fitting = self._count_fitting()
        if fitting >= slots.workers:
            self._fitted_at = now
        elif now - self._fitted_at > self._patience_s:
            raise CodedError(
                "not-enough-room",
                f"a trial needs {slots.workers} workers of {slots.cpus_per_worker} CPUs and {slots.gpus_per_worker:g} "
                f"GPUs, but for {self._patience_s:.0f} s the cluster's live nodes could hold only {fitting}; "
                "finished trials are kept, the same command resumes",
            )

    def can_spare(self, gpus: int) -> bool:
        """Return whether a one-worker trial on GPUs still fits beside processes that hold `gpus` GPUs."""
        return self._count_fitting() > gpus * count_shares(self._slots.gpus_per_worker)

    def count_at_once(self, held: int) -> int:
        """Return how many trials can run at once beside `held` processes that hold a GPU without a trial."""
        return self._slots.count if not held else max(1, min(self._slots.count, self._count_fitting() - held))

    def _count_fitting(self) -> int:
        return count_fitting_workers(_living_machines(), self._slots.gpus_per_worker, self._slots.cpus_per_worker)


def _living_machines() -> list[Machine]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Machine(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in nodes]
