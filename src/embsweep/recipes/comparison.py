"""A composed recipe against the facts of a card, one by one.

A recipe and its card as tables for the terminal.

What is to be known of a card before its recipe is trusted, in sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table

from embsweep.config import Config
from embsweep.config.search_space import Space, Value, describe
from embsweep.config.training import ObjectiveConfig, TrainConfig
from embsweep.models.losses import compute_dim_weights
from embsweep.recipes.cards import Card, LogReading, QueryReading, Steps
from embsweep.selection.objective import describe_objective


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


def build_overview(cards: Mapping[str, Card]) -> Table:
    """A line for each recipe."""
    table = _table("recipe", "model", "subject", "pairs", "test queries", "epochs planned", "evaluated", "saved")
    for name, card in cards.items():
        saved = next(index for index, row in enumerate(card.log, 1) if row.saved)
        figures = (
            f"{figure:,g}" for figure in (card.train_pairs, card.test_queries, card.train.epochs, len(card.log), saved)
        )
        table.add_row(name, card.model, card.subject, *figures)
    return table


def build_recipe(facts: Iterable[Fact], space: Space, chosen: Mapping[str, Value]) -> Table:
    """Every fact of the card, what trial 0 has, and where the search looks; `chosen` is trial 0 within the space."""
    searched = {dimension.key: describe(dimension) for dimension in space}
    table = _table("key", "card", "trial 0", "searched")
    for fact in facts:
        table.add_row(fact.key, _text(fact.card), _text(fact.here), searched.pop(fact.key, ""))
    for key, text in searched.items():
        table.add_row(key, "", _text(chosen.get(key)), text)
    return table


def build_difference(facts: Iterable[Fact]) -> Table:
    """Every fact of the card against its value here; `=` where they are the same."""
    table = _table("key", "card", "", "here")
    for fact in facts:
        style = None if fact.is_equal else "bold"
        table.add_row(fact.key, _text(fact.card), "=" if fact.is_equal else "≠", _text(fact.here), style=style)
    return table


def build_log(card: Card, reading: LogReading) -> Table:
    """MAP@100 at each dimension: of the weights that were saved, as reported, at its own best epoch."""
    saved, reported = f"saved (epoch {reading.saved})", f"reported (epoch {reading.reported})"
    table = _table("dim", saved, reported, "saved - reported", "best", "at epoch", numbers=True)
    for dim in card.dims:
        at = reading.wanted[dim]
        rows = (card.log[epoch - 1].scores[dim] for epoch in (reading.saved, reading.reported, at))
        held, told, best = map(_score, rows)
        table.add_row(str(dim), held, told, _gain(reading.gaps[dim]), best, str(at))
    return table


def _table(*columns: str, numbers: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return table


def _text(value: object) -> str:
    """As YAML has it, nearly."""
    if isinstance(value, ObjectiveConfig):
        weights = [f"{dim}: {weight:g}" for dim, weight in (value.dim_weights or {}).items()]
        return describe_objective(value) + (f" ({', '.join(weights)})" if weights else "")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _score(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _gain(value: float) -> str:
    return f"{round(value, 4) + 0.0:+.4f}".replace("0.", ".", 1)  # no negative zero


def describe_log(card: Card, reading: LogReading) -> Iterator[str]:
    """Which weights were saved, whose figures were reported, what would have been chosen."""
    are = "are" if reading.saved == reading.reported else "are not"
    yield (
        f"The card saves epoch {reading.saved} and reports epoch {reading.reported}: "
        f"its figures {are} those of the weights that it ships."
    )
    wanted = ", ".join(f"{epoch} for {dim}" for dim, epoch in reading.wanted.items())
    yield (
        f"The saved epoch is the best at dimension {card.chosen_by}; each dimension alone would have wanted {wanted}, "
        f"the mean over all of them {reading.by_profile}."
    )


def describe_schedule(card: Card, reading: LogReading, steps: Steps) -> Iterator[str]:
    """How much of the schedule was of use, and what accumulation did not buy."""
    yield (
        f"{reading.planned} epochs were planned and {reading.ran} evaluated, {steps.ran:,} of {steps.card:,} optimizer "
        f"steps; the epoch that was kept is number {reading.saved}."
    )
    if steps.here != steps.card:
        yield (
            f"The same schedule has {steps.here:,} steps here: an accumulation that an epoch's end cuts short is a "
            "step of its own; in the card's version of transformers it went on into the next epoch."
        )
    if steps.peak_share < 1:
        yield (
            f"Warm-up is {card.train.warmup:.0%} of the plan, {card.train.warmup * card.train.epochs:g} epochs: the "
            f"weights that were kept come from inside it, at {steps.peak_share:.0%} of the peak learning rate."
        )
    if card.train.patience is not None:
        yield f"A patience of {card.train.patience} is read off its log, which ends early; the card names none."
    batch, together = card.train.batch_size, card.train.batch_size * card.train.accumulation
    yield (
        f"{card.train.accumulation} batches of {batch} are accumulated: a step of {together} pairs, "
        f"but {batch - 1} in-batch negatives for each anchor, not {together - 1}."
    )


def describe_queries(queries: QueryReading) -> Iterator[str]:
    """What so many test queries can show."""
    yield (
        f"{queries.queries:,} test queries: one of them moves an accuracy by {queries.step:.4f}, and accuracy@10 "
        f"lies between {queries.low:.2f} and {queries.high:.2f} in 95 of 100 samples of so many. "
        "The same queries chose the checkpoint and report its score."
    )
    if queries.is_scattered:
        yield (
            f"Of {queries.in_top} queries whose passage is among the first ten, {queries.first} have it first, fewer "
            "than chance: the mark of passages that stand in the corpus several times, of which one counts."
        )


def describe_difference(facts: tuple[Fact, ...]) -> Iterator[str]:
    """How far a recipe is the card's."""
    differing = [fact.key for fact in facts if not fact.is_equal]
    equal = f"{len(facts) - len(differing)} of {len(facts)} facts as on the card"
    yield f"{equal}; different: {', '.join(differing)}." if differing else f"{equal}."
    if "objective" in differing:
        yield "Checkpoint, stopping and winner follow one objective here; objective=dim_128 is the card's."
