"""Comparison of a composed recipe with the facts of its card, in sentences for the terminal.

The sentences describe what a user should know about a card before relying on its recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embsweep.config import Config
from embsweep.config.training import TrainConfig
from embsweep.models.losses import compute_dim_weights
from embsweep.recipes.cards import Card, QueryAnalysis, Steps, choose_by


@dataclass(frozen=True)
class Fact:
    """One value of a recipe under its dotted key: on the card, and in the configuration composed here."""

    key: str
    card: object
    here: object

    @property
    def is_equal(self) -> bool:
        """True if the value here equals the card's."""
        return self.card == self.here


def compare_recipe(card: Card, config: Config) -> tuple[Fact, ...]:
    """Compare every fact of the card that a configuration sets, in the order of the configuration's groups."""
    pairs: dict[str, tuple[object, object]] = {
        "model.source": (card.base_model, config.model.source),
        "model.max_seq_length": (card.max_seq_length, config.model.max_seq_length),
        "loss.name": ("mnrl", config.loss.name),
        "matryoshka.dims": (card.dims, config.matryoshka.dims),
        "matryoshka.weights": (card.weights, compute_dim_weights(config.matryoshka)),
        **{f"train.{key}": (getattr(card.train, key), _trained(card, config, key)) for key in TrainConfig.model_fields},
        "eval.dims": (card.dims, config.trial.eval_dims),
        "eval.per_epoch": (1, config.eval.per_epoch),
        "objective": (choose_by(card.chosen_by), config.objective),
    }
    return tuple(Fact(key, *pair) for key, pair in pairs.items())


def _trained(card: Card, config: Config, key: str) -> object:
    """Return a value of `train`, the card's for `gradient_checkpointing=auto`, which changes memory only."""
    value = getattr(config.train, key)
    return card.train.gradient_checkpointing if (key, value) == ("gradient_checkpointing", "auto") else value


def describe_log(card: Card) -> Iterator[str]:
    """Yield sentences on the saved weights, the reported scores and the epochs of other choices."""
    are = "are" if card.saved_epoch == card.reported_epoch else "are not"
    yield (
        f"The card saves epoch {card.saved_epoch} and reports epoch {card.reported_epoch}: "
        f"its scores {are} those of the published weights."
    )
    wanted = ", ".join(f"{card.choose_epoch(dim)} for {dim}" for dim in card.dims)
    yield (
        f"The saved epoch is the best at dimension {card.chosen_by}; the best epochs of the single dimensions are "
        f"{wanted}, that of the mean over all of them is {card.choose_epoch()}."
    )


def describe_schedule(card: Card, steps: Steps) -> Iterator[str]:
    """Yield sentences on the used part of the schedule, and on the in-batch negatives despite accumulation.

    Args:
        card: The card.
        steps: Optimizer steps of its schedule.
    """
    yield (
        f"{card.train.epochs:g} epochs were planned and {len(card.log)} evaluated, {card.log[-1].step:,} of "
        f"{steps.card:,} optimizer steps; the saved epoch is number {card.saved_epoch}."
    )
    if steps.here != steps.card:
        yield (
            f"The same schedule has {steps.here:,} steps here: an accumulation that ends early with its epoch is a "
            "step of its own; in the card's version of transformers it continued in the next epoch."
        )
    if steps.peak_share < 1:
        yield (
            f"Warm-up is {card.train.warmup:.0%} of the schedule, {card.train.warmup * card.train.epochs:g} epochs: "
            f"the saved weights were trained during it, at {steps.peak_share:.0%} of the peak learning rate."
        )
    if card.train.patience is not None:
        yield f"A patience of {card.train.patience} is derived from its log, which ends early; the card states none."
    batch, together = card.train.batch_size, card.train.batch_size * card.train.accumulation
    yield (
        f"{card.train.accumulation} batches of {batch} are accumulated: a step of {together} pairs, "
        f"but {batch - 1} in-batch negatives for each query, not {together - 1}."
    )


def describe_queries(card: Card, queries: QueryAnalysis) -> Iterator[str]:
    """Yield sentences on the resolution of the test set."""
    low, high = queries.interval
    yield (
        f"{card.test_queries:,} test queries: one of them changes an accuracy by {1 / card.test_queries:.4f}, and the "
        f"95 % confidence interval of accuracy@10 is {low:.2f} to {high:.2f}. "
        "The same queries chose the checkpoint and gave its reported score."
    )
    if queries.is_scattered:
        yield (
            f"Of {queries.in_top} queries whose passage is among the first ten, {queries.first} have it first, fewer "
            "than by chance: probably, passages are in the corpus several times, and only one of them is relevant."
        )


def describe_difference(facts: tuple[Fact, ...]) -> Iterator[str]:
    """Yield sentences on the facts in which a recipe differs from the card."""
    differing = [fact.key for fact in facts if not fact.is_equal]
    equal = f"{len(facts) - len(differing)} of {len(facts)} facts as on the card"
    yield f"{equal}; different: {', '.join(differing)}." if differing else f"{equal}."
    if "objective" in differing:
        yield "Checkpoint, stopping and winner share one objective here; the card's is objective=dim_128."
