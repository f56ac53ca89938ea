"""`embsweep recipe`: compare the composed recipes of the three published fine-tunes with their model cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Column, Table

from embsweep.cli.composition.compose import config_loader
from embsweep.cli.composition.request import parse_request
from embsweep.config import Config, build_config, check_trainable
from embsweep.config.search_space import SearchSpace, Value, describe
from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import InputError
from embsweep.recipes.cards import (
    Card,
    count_steps,
    find_card,
    load_cards,
    read_queries,
)
from embsweep.recipes.comparison import (
    Fact,
    compare_recipe,
    describe_difference,
    describe_log,
    describe_queries,
    describe_schedule,
)
from embsweep.reports.text import TABLE_STYLE, gain, plain_printer, score
from embsweep.selection.objective import describe_objective
from embsweep.sweep.checks.inputs import attempt
from embsweep.sweep.request import SweepRequest


def list_recipes(console: Console) -> None:
    """Print one line per recipe."""
    console.print(_build_overview(load_cards()))
    plain_printer(console)(
        "\nDetails: embsweep recipe show NAME. To run one: python run_sweep.py +sweep=NAME data.pairs=…"
    )


def show_recipe(name: str, console: Console) -> None:
    """Print the composed recipe beside its card, and a summary of the training log on the card.

    Raises:
        InputError: If there is no recipe `name`, or its composed configuration is invalid.
    """
    card = find_card(name)
    config, request = _compose(name, ())
    print_line = plain_printer(console)
    print_line(f"+sweep={name}: {card.model} ({card.subject}, {card.train_pairs:,} training pairs)\n")
    console.print(_build_recipe(compare_recipe(card, config), request.space, request.recipe))
    print_line("\nMAP@100 in the card's log:")
    console.print(_build_log(card))
    facts = (*describe_log(card), *describe_schedule(card, count_steps(card)))
    print_line("\n".join(["", *facts, *describe_queries(card, read_queries(card))]))


def diff_recipe(name: str, overrides: Sequence[str], console: Console) -> None:
    """Print every fact of a card beside the value that the recipe has with `overrides`.

    Args:
        name: The recipe.
        overrides: Changes to the recipe, in Hydra's syntax (`train.epochs=3`). A swept key is compared at the
            recipe's value.
        console: The console to print to.

    Raises:
        InputError: If there is no recipe `name`, or `overrides` or the composed configuration are invalid; with all
            diagnostics.
    """
    card = find_card(name)
    config, _ = _compose(name, overrides)
    facts = compare_recipe(card, config)
    console.print(_build_difference(facts))
    plain_printer(console)("\n".join(["", *describe_difference(facts)]))


def _compose(name: str, overrides: Sequence[str]) -> tuple[Config, SweepRequest]:
    """Compose trial 0 and the request of a preset; a key that `overrides` sweep keeps the recipe's value."""
    with config_loader() as loader:
        request, found = parse_request(loader, [f"+sweep={name}", *overrides], "")
    config, invalid = attempt(build_config, request.values)
    diagnostics = [diagnostic for diagnostic in found if diagnostic.code != "nothing-to-search"]
    diagnostics += invalid if config is None else check_trainable(config)
    if config is None or diagnostics:
        raise InputError(diagnostics)
    return config, request


def _build_overview(cards: Mapping[str, Card]) -> Table:
    """Build a table with a row for each recipe."""
    table = _table("recipe", "model", "subject", "pairs", "test queries", "epochs planned", "evaluated", "saved")
    for name, card in cards.items():
        epochs = (card.train.epochs, len(card.log), card.saved_epoch)
        figures = (f"{figure:,g}" for figure in (card.train_pairs, card.test_queries, *epochs))
        table.add_row(name, card.model, card.subject, *figures)
    return table


def _build_recipe(facts: Iterable[Fact], space: SearchSpace, chosen: Mapping[str, Value]) -> Table:
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


def _build_difference(facts: Iterable[Fact]) -> Table:
    """Build a table of every fact of the card and its value here; `=` marks equal ones."""
    table = _table("key", "card", "", "here")
    for fact in facts:
        style = None if fact.is_equal else "bold"
        table.add_row(fact.key, _text(fact.card), "=" if fact.is_equal else "≠", _text(fact.here), style=style)
    return table


def _build_log(card: Card) -> Table:
    """Build a table of MAP@100 at each dimension: of the saved weights, as reported, at the dimension's best epoch."""
    headings = (f"saved (epoch {card.saved_epoch})", f"reported (epoch {card.reported_epoch})")
    table = _table("dim", *headings, "saved - reported", "best", "at epoch", numbers=True)
    for dim in card.dims:
        at = card.choose_epoch(dim)
        epochs = (card.saved_epoch, card.reported_epoch, at)
        saved, reported, best = (card.log[epoch - 1].scores[dim] for epoch in epochs)
        table.add_row(str(dim), score(saved), score(reported), gain(saved - reported), score(best), str(at))
    return table


def _table(*columns: str, numbers: bool = False) -> Table:
    side: Literal["left", "right"] = "right" if numbers else "left"
    return Table(*(Column(name, justify=side, overflow="fold") for name in columns), **TABLE_STYLE)


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
