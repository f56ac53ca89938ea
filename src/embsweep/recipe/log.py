"""What a card's own training log says about the weights that it ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.config.training import ObjectiveConfig
from embsweep.decide.checkpoint import choose_checkpoint, wanted_epochs
from embsweep.recipe.card import METRIC, Card, LogRow

_DIGITS = 4
"""The log is rounded to so many, the reported figures are not."""


@dataclass(frozen=True)
class LogReading:
    """A log, read. An epoch is its number from 1: the cards evaluate once in each.

    `by_card` is the epoch that the card's own rule chooses, `by_profile` the one of the mean over all of its
    dimensions; `wanted` the best epoch at each dimension, `gaps` MAP@100 of the saved weights minus that of the
    reported ones at each.
    """

    planned: int
    ran: int
    saved: int
    reported: int
    by_card: int
    by_profile: int
    wanted: Mapping[int, int]
    gaps: Mapping[int, float]


def read_log(card: Card) -> LogReading:
    """The saved epoch beside the reported one, and what every deployment would have wanted."""
    saved, reported = find_saved(card), find_reported(card)
    profile = ObjectiveConfig(metric=METRIC, aggregate="mean")
    return LogReading(
        planned=int(card.train.epochs),
        ran=len(card.log),
        saved=saved + 1,
        reported=reported + 1,
        by_card=_choose(card, card.objective) + 1,
        by_profile=_choose(card, profile) + 1,
        wanted={dim: index + 1 for dim, index in wanted_epochs(card.scores, METRIC).items()},
        gaps={dim: card.log[saved].scores[dim] - card.log[reported].scores[dim] for dim in card.dims},
    )


def find_saved(card: Card) -> int:
    """Index of the row whose weights were published."""
    return next(index for index, row in enumerate(card.log) if row.saved)


def find_reported(card: Card) -> int:
    """Index of the row whose figures the card reports at every dimension."""
    return next(index for index, row in enumerate(card.log) if _is_reported(row, card))


def _is_reported(row: LogRow, card: Card) -> bool:
    return all(round(card.reported[dim], _DIGITS) == row.scores[dim] for dim in card.dims)


def _choose(card: Card, objective: ObjectiveConfig) -> int:
    chosen = choose_checkpoint(card.scores, objective)
    if chosen is None:
        raise ValueError(f"no row of the log of {card.model} can be chosen")
    return chosen
