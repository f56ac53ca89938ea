"""The facts of three published model cards, and what follows from them.

`cards.json` beside this file contains only figures, taken from the cards of the named models. Three of them are not on
any card but derived from its figures: `test_queries` is the smallest number of which every reported accuracy is a whole
fraction, `chosen_by` the one dimension whose best row is the saved one, `patience` the number of evaluations after that
row in a log that ends before its schedule does.

Three analyses use the figures of a card: its training log against the published weights (`Card.saved_epoch` and the
epochs beside it), the resolution of its test set (`read_queries`), and the optimizer steps of its schedule, which the
card's version of transformers counted differently from ours (`count_steps`).
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
from embsweep.selection.objective import compute_objective

METRIC = "map@100"
"""The metric by which the three cards choose and report."""

Figures = Annotated[dict[int, float], Field(strict=False)]


class CardLogRow(FrozenModel):
    """One evaluation in a card's training log: MAP@100 at each dimension; `saved` marks the published weights."""

    epoch: float
    step: int
    scores: Figures
    saved: bool


class Card(FrozenModel):
    """Facts of one model card. `chosen_by` is the dimension whose MAP@100 chose the checkpoint.

    `reported` is the card's MAP@100 at each dimension, `accuracy` its accuracy@k at the largest dimension, by k. Epochs
    are numbered from 1; the cards evaluate once per epoch.
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
    log: Annotated[tuple[CardLogRow, ...], Field(strict=False)]
    reported: Figures
    accuracy: Figures

    @property
    def saved_epoch(self) -> int:
        """Epoch whose weights were published."""
        return [row.saved for row in self.log].index(True) + 1

    @property
    def reported_epoch(self) -> int:
        """Epoch whose scores the card reports at every dimension; those of the log have four digits."""
        reported = {dim: round(self.reported[dim], 4) for dim in self.dims}
        return [row.scores for row in self.log].index(reported) + 1

    def choose_epoch(self, dim: int | None = None) -> int:
        """Return the epoch whose weights a trial keeps: the highest objective (`choose_by`), the earliest of equals."""
        scores = [{dim: {METRIC: value} for dim, value in row.scores.items()} for row in self.log]
        objectives = [compute_objective(by_dim, choose_by(dim)) for by_dim in scores]
        return objectives.index(max(objectives)) + 1


def choose_by(dim: int | None = None) -> ObjectiveConfig:
    """Return the objective of one dimension, or of the mean over all."""
    return ObjectiveConfig(metric=METRIC, aggregate="mean", dim_weights={dim: 1.0} if dim else None)


@cache
def load_cards() -> Mapping[str, Card]:
    """Load every card, by the name of its sweep."""
    text = files(__package__).joinpath("cards.json").read_text("utf-8")
    return TypeAdapter(dict[str, Card]).validate_json(text)


def find_card(name: str) -> Card:
    """Return the card of a sweep.

    Raises:
        InputError: If there is no card of this name; it suggests the nearest spelling.
    """
    cards = load_cards()
    if name not in cards:
        raise InputError(
            Diagnostic("unknown-name", "NAME", "no such recipe", name, ", ".join(cards), did_you_mean(name, cards))
        )
    return cards[name]


_TOP = 10


@dataclass(frozen=True)
class QueryAnalysis:
    """Resolution of a card's test set.

    Attributes:
        first: Queries whose passage is ranked first.
        in_top: Queries whose passage is among the first ten.
        interval: Lower and upper bound of the 95 % confidence interval of accuracy@10.
    """

    first: int
    in_top: int
    interval: tuple[float, float]

    @property
    def is_scattered(self) -> bool:
        """True if a passage among the first ten is ranked first less often than by chance, one time in ten.

        This indicates that the corpus has several rows for one passage, of which only one counts as relevant.
        """
        return self.first * _TOP < self.in_top


def read_queries(card: Card) -> QueryAnalysis:
    """Derive the counts behind the accuracies at the card's largest dimension, with Wilson's interval (1927)."""
    from scipy.stats import binomtest

    first, in_top = (round(card.accuracy[k] * card.test_queries) for k in (1, _TOP))
    low, high = binomtest(in_top, card.test_queries).proportion_ci(confidence_level=0.95, method="wilson")
    return QueryAnalysis(first, in_top, (float(low), float(high)))


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of a card's schedule on the card's own pairs.

    Attributes:
        card: Steps of the whole schedule in the card's version of transformers.
        here: Steps of the whole schedule in ours.
        peak_share: Learning rate at the saved checkpoint as a share of its peak: below 1 during warm-up, then 1.
    """

    card: int
    here: int
    peak_share: float


def count_steps(card: Card) -> Steps:
    """Count the optimizer steps of a card's schedule, in the card's version of transformers and in ours.

    An epoch has one step for each accumulation that its batches fill, at least one; the remainder is a step only in
    ours. transformers 4.42, `Trainer._inner_training_loop`: `len(dataloader) // gradient_accumulation_steps`; 5.23,
    `Trainer.set_initial_training_values`: one more if there is a remainder.
    """
    batches = math.ceil(card.train_pairs / card.train.batch_size)
    whole = max(1, batches // card.train.accumulation)
    begun = math.ceil(batches / card.train.accumulation)
    planned = round(card.train.epochs * whole)
    saved = card.log[card.saved_epoch - 1].step
    return Steps(
        card=planned,
        here=math.ceil(card.train.epochs * begun),
        peak_share=min(1.0, saved / math.ceil(card.train.warmup * planned)),
    )
