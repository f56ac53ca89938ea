"""Comparison of a composed recipe with the facts of its card, as tables and sentences for the terminal.

The sentences describe what a user should know about a card before relying on its recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table

from embsweep.config import Config
from embsweep.config.search_space import SearchSpace, Value, describe
from embsweep.config.training import ObjectiveConfig, TrainConfig
from embsweep.models.losses import compute_dim_weights
from embsweep.recipes.cards import Card, LogAnalysis, QueryAnalysis, Steps
from embsweep.selection.objective import describe_objective


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
    """Build a table with a row for each recipe."""
    table = _table("recipe", "model", "subject", "pairs", "test queries", "epochs planned", "evaluated", "saved")
    for name, card in cards.items():
        saved = next(index for index, row in enumerate(card.log, 1) if row.saved)
        figures = (
            f"{figure:,g}" for figure in (card.train_pairs, card.test_queries, card.train.epochs, len(card.log), saved)
        )
        table.add_row(name, card.model, card.subject, *figures)
    return table


def build_recipe(facts: Iterable[Fact], space: SearchSpace, chosen: Mapping[str, Value]) -> Table:
    """Build a table of every fact of the card with the value of trial 0 and the searched values.

    Args:
        facts: Facts of the card, and their values in trial 0.
        space: Search space of the sweep.
        chosen: Values of trial 0 for the keys of the space, also for keys that are not on the card.
    """
    searched = {dimension.key: describe(dimension) for dimension in space}
    table = _table("key", "card", "trial 0", "searched")
    for fact in facts:
        table.add_row(fact.key, _text(fact.card), _text(fact.here), searched.pop(fact.key, ""))
    for key, text in searched.items():
        table.add_row(key, "", _text(chosen.get(key)), text)
    return table


def build_difference(facts: Iterable[Fact]) -> Table:
    """Build a table of every fact of the card and its value here; `=` marks equal ones."""
    table = _table("key", "card", "", "here")
    for fact in facts:
        style = None if fact.is_equal else "bold"
        table.add_row(fact.key, _text(fact.card), "=" if fact.is_equal else "≠", _text(fact.here), style=style)
    return table


def build_log(card: Card, analysis: LogAnalysis) -> Table:
    """Build a table of MAP@100 at each dimension: of the saved weights, as reported, at the dimension's best epoch."""
    saved, reported = f"saved (epoch {analysis.saved})", f"reported (epoch {analysis.reported})"
    table = _table("dim", saved, reported, "saved - reported", "best", "at epoch", numbers=True)
    for dim in card.dims:
        at = analysis.wanted[dim]
        rows = (card.log[epoch - 1].scores[dim] for epoch in (analysis.saved, analysis.reported, at))
        of_saved, of_reported, best = map(_score, rows)
        table.add_row(str(dim), of_saved, of_reported, _gain(analysis.gaps[dim]), best, str(at))
    return table


def _table(*columns: str, numbers: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return table


def _text(value: object) -> str:
    """Format a value approximately as YAML."""
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


def describe_log(card: Card, analysis: LogAnalysis) -> Iterator[str]:
    """Yield sentences on the saved weights, the reported scores and the epochs of other choices."""
    are = "are" if analysis.saved == analysis.reported else "are not"
    yield (
        f"The card saves epoch {analysis.saved} and reports epoch {analysis.reported}: "
        f"its scores {are} those of the published weights."
    )
    wanted = ", ".join(f"{epoch} for {dim}" for dim, epoch in analysis.wanted.items())
    yield (
        f"The saved epoch is the best at dimension {card.chosen_by}; the best epochs of the single dimensions are "
        f"{wanted}, that of the mean over all of them is {analysis.by_profile}."
    )


def describe_schedule(card: Card, analysis: LogAnalysis, steps: Steps) -> Iterator[str]:
    """Yield sentences on the used part of the schedule, and on the in-batch negatives despite accumulation.

    Args:
        card: The card.
        analysis: Analysis of its training log.
        steps: Optimizer steps of its schedule.
    """
    yield (
        f"{analysis.planned} epochs were planned and {analysis.ran} evaluated, {steps.ran:,} of {steps.card:,} "
        f"optimizer steps; the saved epoch is number {analysis.saved}."
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


def describe_queries(queries: QueryAnalysis) -> Iterator[str]:
    """Yield sentences on the resolution of the test set."""
    yield (
        f"{queries.queries:,} test queries: one of them changes an accuracy by {queries.step:.4f}, and the 95 % "
        f"confidence interval of accuracy@10 is {queries.low:.2f} to {queries.high:.2f}. "
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
