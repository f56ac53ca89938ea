"""The facts of three published model cards, as frozen values.

`cards.json` beside this file holds figures alone, read off the cards of the named models. Three of them stand on no
card and follow from its figures: `test_queries` is the smallest number of which every reported accuracy is a whole
fraction, `chosen_by` the one dimension whose best row is the saved one, `patience` the evaluations after that row
in a log that ends before its schedule does.

What a card's own training log says about the weights that it ships.

What the test set of a card can show, from its figures alone.

How many optimizer steps a card's schedule has: the card's library counted otherwise than ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import Field, TypeAdapter

from embsweep.config.base import Dims, Floats, FrozenModel
from embsweep.config.training import ObjectiveConfig, TrainConfig
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.selection.checkpoint import best_epoch_per_dim, choose_checkpoint
from embsweep.selection.scores import Scores

METRIC = "map@100"
"""The metric by which the three cards choose and report."""

ByDim = Annotated[dict[int, float], Field(strict=False)]
ByRank = Annotated[dict[int, float], Field(strict=False)]


class LogRow(FrozenModel):
    """One evaluation of the card's training log: MAP@100 at each dimension; `saved` marks the weights it ships."""

    epoch: float
    step: int
    scores: ByDim
    saved: bool


class Card(FrozenModel):
    """What one card states. `chosen_by` is the dimension whose MAP@100 chose the checkpoint.

    `reported` is the card's MAP@100 at each dimension, `accuracy` its accuracy@k at the largest one.
    """

    model: str
    subject: str
    base_model: str
    train_pairs: int
    test_queries: int
    max_seq_length: int
    dims: Dims
    weights: Floats
    chosen_by: int
    train: TrainConfig
    log: Annotated[tuple[LogRow, ...], Field(strict=False)]
    reported: ByDim
    accuracy: ByRank

    @property
    def scores(self) -> tuple[Scores, ...]:
        """The log as `decide` takes it, one for each row."""
        return tuple({dim: {METRIC: value} for dim, value in row.scores.items()} for row in self.log)

    @property
    def objective(self) -> ObjectiveConfig:
        """What chose the checkpoint, in our terms."""
        return ObjectiveConfig(metric=METRIC, aggregate="mean", dim_weights={self.chosen_by: 1.0})


@cache
def load_cards() -> Mapping[str, Card]:
    """Every card by the name of its sweep."""
    text = files(__package__).joinpath("cards.json").read_text("utf-8")
    return TypeAdapter(dict[str, Card]).validate_json(text)


def find_card(name: str) -> Card:
    """The card of a sweep. InputError with the nearest spelling where there is none."""
    cards = load_cards()
    if name not in cards:
        raise InputError(
            Diagnostic("unknown-name", "NAME", "no such recipe", name, ", ".join(cards), did_you_mean(name, cards))
        )
    return cards[name]


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
        wanted={dim: index + 1 for dim, index in best_epoch_per_dim(card.scores, METRIC).items()},
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


_CONFIDENCE = 0.95
_TOP = 10


@dataclass(frozen=True)
class QueryReading:
    """`step` is the least by which an accuracy can differ, the weight of one query.

    `first` and `in_top` are the queries whose passage came first, and among the first ten; `low` and `high` bound
    the accuracy@10 in 95 of 100 samples of so many queries. `is_scattered`: a passage that is among the first ten
    is itself the first less often than chance would have it, one time in ten.
    """

    queries: int
    step: float
    first: int
    in_top: int
    low: float
    high: float

    @property
    def is_scattered(self) -> bool:
        """The mark of several rows for one passage of which one counts as right."""
        return self.first * _TOP < self.in_top


def read_queries(card: Card) -> QueryReading:
    """Counts behind the reported accuracies at the card's largest dimension, with Wilson's interval (1927)."""
    from scipy.stats import binomtest

    first, in_top = (round(card.accuracy[k] * card.test_queries) for k in (1, _TOP))
    interval = binomtest(in_top, card.test_queries).proportion_ci(_CONFIDENCE, method="wilson")
    return QueryReading(
        queries=card.test_queries,
        step=1 / card.test_queries,
        first=first,
        in_top=in_top,
        low=float(interval.low),
        high=float(interval.high),
    )


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of the whole schedule on the card's own pairs: `card` then, `here` now; `ran` were taken.

    `peak_share` is how far the warm-up had raised the learning rate at the saved checkpoint, 1 where it was over.
    """

    card: int
    here: int
    ran: int
    peak_share: float


def count_steps(card: Card) -> Steps:
    """An epoch's batches in whole accumulations, at least one; what is left over counts here and did not there.

    transformers 4.42, `Trainer._inner_training_loop`: `len(dataloader) // gradient_accumulation_steps`;
    5.23, `Trainer.set_initial_training_values`: one more where there is a remainder.
    """
    batches = math.ceil(card.train_pairs / card.train.batch_size)
    whole = max(1, batches // card.train.accumulation)
    begun = math.ceil(batches / card.train.accumulation)
    planned = round(card.train.epochs * whole)
    saved = next(row.step for row in card.log if row.saved)
    return Steps(
        card=planned,
        here=math.ceil(card.train.epochs * begun),
        ran=card.log[-1].step,
        peak_share=min(1.0, saved / math.ceil(card.train.warmup * planned)),
    )
