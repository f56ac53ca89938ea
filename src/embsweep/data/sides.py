"""Which passage group goes to training, to validation, to test."""

from __future__ import annotations

from collections.abc import Sequence

from embsweep.config.source import SplitConfig
from embsweep.data.groups import Group

TEST, VALIDATION, TRAIN = "test", "validation", "train"


def assign_sides(groups: Sequence[Group], config: SplitConfig) -> dict[str, list[Group]]:
    """Side → its groups. Takes at least three groups; no side stays empty.

    Each group in turn goes to test where it fits into what test still lacks, else to validation, else to
    training; so a side misses its share of the queries by less than the smallest group outside it.
    """
    total = sum(len(group.queries) for group in groups)
    room = {TEST: _share(total, config.test), VALIDATION: _share(total, config.validation)}
    sides: dict[str, list[Group]] = {TEST: [], VALIDATION: [], TRAIN: []}
    for group in groups:
        side = next((side for side, left in room.items() if len(group.queries) <= left), TRAIN)
        sides[side].append(group)
        if side in room:
            room[side] -= len(group.queries)
    _fill_empty(sides)
    return sides


def deal_groups(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """`count` folds of whole groups, each group in turn to the fold that has the fewest queries so far."""
    folds: list[list[Group]] = [[] for _ in range(count)]
    held = [0] * count
    for group in sorted(groups, key=lambda group: -len(group.queries)):
        smallest = held.index(min(held))
        folds[smallest].append(group)
        held[smallest] += len(group.queries)
    return folds


def describe_misses(sides: dict[str, list[Group]], config: SplitConfig) -> list[str]:
    """A line for each held-out side whose share of the queries is far from the one asked for."""
    counts = {side: sum(len(group.queries) for group in groups) for side, groups in sides.items()}
    total = sum(counts.values())
    lines = []
    for side, fraction in ((VALIDATION, config.validation), (TEST, config.test)):
        if abs(counts[side] - total * fraction) > max(1.0, total * fraction * 0.2):
            asked = f"{fraction:.0%} were asked for, and passage groups are not cut"
            lines.append(f"{side} holds {counts[side]:,} of {total:,} queries ({counts[side] / total:.0%}): {asked}")
    return lines


def _share(total: int, fraction: float) -> int:
    return max(1, round(total * fraction))


def _fill_empty(sides: dict[str, list[Group]]) -> None:
    """Give each empty side the smallest group of the side that has the most groups."""
    for groups in sides.values():
        if not groups:
            donor = max(sides.values(), key=len)
            smallest = min(donor, key=lambda group: len(group.queries))
            donor.remove(smallest)
            groups.append(smallest)
