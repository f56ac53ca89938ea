"""A composed recipe against the facts of a card, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embsweep.config import Config
from embsweep.config.training import TrainConfig
from embsweep.model.loss import compute_dim_weights
from embsweep.recipe.card import Card


@dataclass(frozen=True)
class Fact:
    """One value of a recipe under its dotted key: what the card has, what is composed here."""

    key: str
    card: object
    here: object

    @property
    def is_equal(self) -> bool:
        """Whether the recipe is here as on the card."""
        return self.card == self.here


def compare_recipe(card: Card, config: Config) -> tuple[Fact, ...]:
    """Every fact of the card that a configuration decides, in the order of the configuration's groups."""
    return (*_compare_model(card, config), *_compare_train(card.train, config.train), *_compare_choice(card, config))


def _compare_model(card: Card, config: Config) -> Iterator[Fact]:
    yield Fact("model.source", card.base_model, config.model.source)
    yield Fact("model.max_seq_length", card.max_seq_length, config.model.max_seq_length)
    yield Fact("loss.name", "mnrl", config.loss.name)
    yield Fact("matryoshka.dims", card.dims, config.matryoshka.dims)
    yield Fact("matryoshka.weights", card.weights, compute_dim_weights(config.matryoshka))


def _compare_train(card: TrainConfig, here: TrainConfig) -> Iterator[Fact]:
    for name in TrainConfig.model_fields:
        yield Fact(f"train.{name}", getattr(card, name), getattr(here, name))


def _compare_choice(card: Card, config: Config) -> Iterator[Fact]:
    yield Fact("eval.dims", card.dims, config.trial.eval_dims)
    yield Fact("eval.per_epoch", 1, config.eval.per_epoch)
    yield Fact("objective", card.objective, config.objective)
