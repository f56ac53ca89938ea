"""When the slots of a sweep were busy: lanes of attempts, and an axis of time without long interruptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from embsweep.reports.html.search_history import Attempt, SearchHistory

_LONG_GAP, _CUT_GAP = 0.25, 0.04
"""A gap in which nothing ran is cut if it is longer than this share of all other time, to the second share of it."""

_LONG_GAP_S = 60.0

_OVERLAP_S = 5.0
"""A process writes that a run has ended up to seconds after its slot has started the next one."""


@dataclass(frozen=True)
class Bar:
    """One attempt of a run in its lane, from 0. `trial` is the trial that a confirmation run repeats."""

    phase: Literal["search", "confirmation"]
    trial: int
    state: str
    attempt: Attempt
    number: int
    lane: int
    seed: int | None = None


@dataclass(frozen=True)
class Gap:
    """Time in which nothing ran, in seconds since the epoch."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Its length in seconds."""
        return self.end - self.start


def list_bars(history: SearchHistory) -> list[Bar]:
    """Return every attempt by its start, each in the first lane that is free then.

    There are more lanes than slots only if more attempts overlap, by more than a few seconds.
    """
    found: list[Bar] = []
    for trial in history.trials:
        for number, attempt in enumerate(trial.attempts, start=1):
            found.append(Bar("search", trial.number, trial.state, attempt, number, 0))
    for run in history.confirmation:
        for number, attempt in enumerate(run.attempts, start=1):
            found.append(Bar("confirmation", run.trial, run.state, attempt, number, 0, run.seed))
    return _assign_lanes(sorted(found, key=lambda bar: (bar.attempt.start, bar.attempt.end)), history.slots)


def _assign_lanes(bars: Iterable[Bar], slots: int) -> list[Bar]:
    ends: list[float] = []
    placed = []
    for bar in bars:
        free = [lane for lane, end in enumerate(ends) if end <= bar.attempt.start]
        nearly = [lane for lane, end in enumerate(ends) if len(ends) >= slots and end <= bar.attempt.start + _OVERLAP_S]
        lane = free[0] if free else min(nearly, key=ends.__getitem__, default=len(ends))
        ends[lane : lane + 1] = [bar.attempt.end]
        placed.append(Bar(bar.phase, bar.trial, bar.state, bar.attempt, bar.number, lane, bar.seed))
    return placed


def find_gaps(bars: Sequence[Bar]) -> list[Gap]:
    """Return the times between the first start and the last end in which nothing ran.

    Args:
        bars: The attempts by their starts.
    """
    gaps, until = [], bars[0].attempt.end
    for bar in bars[1:]:
        if bar.attempt.start > until:
            gaps.append(Gap(until, bar.attempt.start))
        until = max(until, bar.attempt.end)
    return gaps


def find_interruptions(bars: Sequence[Bar]) -> list[Gap]:
    """Return the gaps that are too long to show: the sweep was interrupted."""
    gaps = sorted(find_gaps(bars), key=lambda gap: gap.length, reverse=True)
    shown = find_end(bars) - bars[0].attempt.start
    cut = []
    for gap in gaps:
        if gap.length < _LONG_GAP_S or gap.length <= _LONG_GAP * (shown - gap.length):
            break
        cut.append(gap)
        shown -= gap.length
    return sorted(cut, key=lambda gap: gap.start)


def find_end(bars: Sequence[Bar]) -> float:
    """Return when the last attempt ended."""
    return max(bar.attempt.end for bar in bars)


@dataclass(frozen=True)
class TimeAxis:
    """Seconds since the first start, with each interruption shortened to `cut_s`."""

    start: float
    end: float
    interruptions: tuple[Gap, ...]
    cut_s: float

    def place(self, time: float) -> float:
        """Return the place of a time on the axis."""
        cut = sum(max(0.0, min(time, gap.end) - gap.start) for gap in self.interruptions)
        kept = sum(self.cut_s * min(1.0, max(0.0, time - gap.start) / gap.length) for gap in self.interruptions)
        return time - self.start - cut + kept

    @property
    def running_s(self) -> float:
        """Time from the first start to the last end, without interruptions."""
        return self.end - self.start - sum(gap.length for gap in self.interruptions)


def build_time_axis(bars: Sequence[Bar]) -> TimeAxis:
    """Return the axis of the attempts, which are sorted by start."""
    start, end, cut = bars[0].attempt.start, find_end(bars), find_interruptions(bars)
    running_s = end - start - sum(gap.length for gap in cut)
    return TimeAxis(start, end, tuple(cut), _CUT_GAP * running_s)
