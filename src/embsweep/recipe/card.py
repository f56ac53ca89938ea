"""The facts of three published model cards, as frozen values.

`cards.json` beside this file holds figures alone, read off the cards of the named models. Three of them stand on no
card and follow from its figures: `test_queries` is the smallest number of which every reported accuracy is a whole
fraction, `chosen_by` the one dimension whose best row is the saved one, `patience` the evaluations after that row
in a log that ends before its schedule does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import Field, TypeAdapter

from embsweep.config.base import Dims, Floats, Part
from embsweep.config.training import ObjectiveConfig, TrainConfig
from embsweep.decide.scores import Scores
from embsweep.errors import Fault, InputError, did_you_mean

METRIC = "map@100"
"""The metric by which the three cards choose and report."""

ByDim = Annotated[dict[int, float], Field(strict=False)]
ByRank = Annotated[dict[int, float], Field(strict=False)]


class LogRow(Part):
    """One evaluation of the card's training log: MAP@100 at each dimension; `saved` marks the weights it ships."""

    epoch: float
    step: int
    scores: ByDim
    saved: bool


class Card(Part):
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
            Fault("unknown-name", "NAME", "no such recipe", name, ", ".join(cards), did_you_mean(name, cards))
        )
    return cards[name]
