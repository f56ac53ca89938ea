"""Keep trials away from GPUs that break processes; Ray itself cannot exclude a single GPU of a node.

Every process of a trial first reports its GPU. On a GPU that is out of use the trial is put back, which is no attempt,
and the process stays there without a trial: it holds the GPU, so that Ray starts no other process on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from embsweep.runners.ray.gpu_health import Card, GpuHealth
from embsweep.training.messages import TrialSpec

Suggest = Callable[[], TrialSpec | None]


@dataclass
class GpuPlacement:
    """The GPUs of the open trials, the trials that wait for another GPU, and the processes that hold a GPU out of use.

    Args:
        health: Which GPUs are out of use, and which trials are suspect.
        suggest: Suggests the scheduler's next trial.
    """

    health: GpuHealth
    suggest: Suggest
    waiting: deque[TrialSpec] = field(default_factory=deque)
    holding: dict[str, Card] = field(default_factory=dict)
    _cards: dict[str, Card] = field(default_factory=dict)
    _announced: dict[str, list[str]] = field(default_factory=dict)

    def take_next(self) -> TrialSpec | None:
        """Return the next trial: one that waits, or the scheduler's next one."""
        return self.waiting.popleft() if self.waiting else self.suggest()

    def announce(self, trial_id: str) -> list[str]:
        """Return the keys of the GPUs out of use, for the process of a trial: on one of them it holds its GPU."""
        self._announced[trial_id] = [card.key for card in sorted(self.health.out_of_use)]
        return self._announced[trial_id]

    def may_run(self, trial_id: str, job: TrialSpec, card: Card) -> bool:
        """Decide whether a trial runs on the GPU of its process; if not, it waits for another process.

        It does not on a GPU out of use, nor on one that it should avoid if there is another trial to run there.
        """
        if card in self.health.out_of_use:
            self.waiting.appendleft(job)
            if card.key in self._announced[trial_id]:
                self.holding[trial_id] = card
            return False
        if self.health.should_avoid(job.number, card):
            other = self._take_unbroken()
            if other is not None:
                self.waiting.extendleft((job, other))
                return False
        self._cards[trial_id] = card
        return True

    def must_hold(self, trial_id: str) -> bool:
        """Return whether the process goes on to hold its GPU, because that is still out of use."""
        self.health.require_capacity()
        return self.holding[trial_id] in self.health.out_of_use

    def release(self, trial_id: str) -> Card | None:
        """Forget a process that has ended its trial, and return the GPU of that trial."""
        self._announced.pop(trial_id, None)
        self.holding.pop(trial_id, None)
        return self._cards.pop(trial_id, None)

    def _take_unbroken(self) -> TrialSpec | None:
        """Return a trial whose process has never broken, None if there is none; others that it meets wait."""
        waiting = next((job for job in self.waiting if not self.health.has_broken(job.number)), None)
        if waiting is not None:
            self.waiting.remove(waiting)
            return waiting
        while (job := self.suggest()) is not None and self.health.has_broken(job.number):
            self.waiting.append(job)
        return job
