"""A recipe and its card as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table

from embsweep.config.training import ObjectiveConfig
from embsweep.decide.objective import describe_objective
from embsweep.recipe.card import Card
from embsweep.recipe.difference import Fact
from embsweep.recipe.log import LogReading
from embsweep.space import Space, Value, describe


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
