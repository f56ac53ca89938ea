"""Record on which GPUs the CUDA contexts of trials broke, and decide which GPUs are out of use and which trials failed.

The rules weigh two explanations. A GPU that breaks the processes of several trials is ill. A trial that breaks its
process on several GPUs is itself the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

BREAKS_UNTIL_OUT_OF_USE = 2
"""Processes that must break on a GPU, with none between that ended regularly, before it is taken out of use."""


@dataclass(frozen=True, order=True)
class Card:
    """A GPU of a node: Ray's id of the node, the node's host name, and the GPU's number there."""

    node: str
    host: str
    gpu: str

    @property
    def key(self) -> str:
        """The card in one string, unique on the cluster."""
        return f"{self.node}/{self.gpu}"

    def __str__(self) -> str:
        return f"GPU {self.gpu} of host {self.host}"


@dataclass
class _Break:
    number: int
    first_words: str


@dataclass
class GpuHealth:
    """The broken processes of a run, by GPU and by trial.

    Args:
        can_spare: Returns whether a trial still fits if this many GPUs are out of use.
        warn: Receives a line for the user when a GPU is taken out of use or used again.
    """

    can_spare: Callable[[int], bool]
    warn: Callable[[str], None]
    out_of_use: set[Card] = field(default_factory=set)
    _breaks: dict[Card, list[_Break]] = field(default_factory=dict)
    _cards: dict[int, set[Card]] = field(default_factory=dict)

    def is_suspect(self, card: Card) -> bool:
        """Return whether a process has broken on this GPU, and no trial has ended regularly there since."""
        return bool(self._breaks.get(card))

    def has_broken(self, number: int) -> bool:
        """Return whether a process of this trial has broken."""
        return bool(self._cards.get(number))

    def should_avoid(self, number: int, card: Card) -> bool:
        """Return whether another trial should run on this GPU instead: only then the cause can be told.

        It should if the trial has broken a process before, and some process broke on this GPU since the last regular
        end, or one of the trial's own did at any time and there is another GPU.
        """
        cards = self._cards.get(number, set())
        return bool(cards) and (self.is_suspect(card) or (card in cards and self.can_spare(1)))

    def record_end(self, card: Card) -> None:
        """Record that a trial ended regularly on a GPU; one that is out of use stays so."""
        if card not in self.out_of_use:
            self._breaks.pop(card, None)

    def record_break(self, card: Card, number: int, reason: str) -> bool:
        """Record that the process of a trial broke on a GPU, and return whether the trial itself is the cause.

        It is if its processes broke on two GPUs; its breaks are then no evidence against them. Otherwise a GPU on which
        two processes in a row broke is taken out of use, unless no trial would fit any more.

        Args:
            card: The GPU.
            number: The trial's number.
            reason: The CUDA error; its first words are shown to the user.
        """
        self._breaks.setdefault(card, []).append(_Break(number, reason.partition(";")[0]))
        cards = self._cards.setdefault(number, set())
        cards.add(card)
        if len(cards) > 1:
            self._acquit(number)
            return True
        if len(self._breaks[card]) >= BREAKS_UNTIL_OUT_OF_USE and card not in self.out_of_use:
            self._take_out_of_use(card)
        return False

    def require_capacity(self) -> None:
        """Use all GPUs again if no trial fits without them, because nodes were lost."""
        if self.out_of_use and not self.can_spare(len(self.out_of_use)):
            cards = sorted(self.out_of_use)
            self._use_again(cards, "no trial fits on the others")
            for card in cards:
                del self._breaks[card]

    def _take_out_of_use(self, card: Card) -> None:
        if not self.can_spare(len(self.out_of_use) + 1):
            return
        self.out_of_use.add(card)
        breaks = self._breaks[card]
        trials = _join(f"{number}" for number, _ in groupby(each.number for each in breaks))
        self.warn(f"{card} is out of use: CUDA failed there in {trials}: {breaks[-1].first_words}")

    def _acquit(self, number: int) -> None:
        """Remove the breaks of a trial, and use the GPUs again that were out of use because of it."""
        for card in self._cards.pop(number):
            self._breaks[card] = [each for each in self._breaks.get(card, []) if each.number != number]
        acquitted = [card for card in self.out_of_use if len(self._breaks[card]) < BREAKS_UNTIL_OUT_OF_USE]
        self._use_again(sorted(acquitted), f"trial {number} is the cause, since it fails on other GPUs too")

    def _use_again(self, cards: list[Card], why: str) -> None:
        for card in cards:
            self.out_of_use.discard(card)
            self.warn(f"{card} is used again: {why}")


def _join(numbers: Iterator[str]) -> str:
    """Return `trial 4` or `trials 4 and 7`."""
    found = list(numbers)
    if len(found) == 1:
        return f"trial {found[0]}"
    return f"trials {', '.join(found[:-1])} and {found[-1]}"
