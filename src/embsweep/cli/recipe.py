"""`embsweep recipe`: compare the composed recipes of the three published fine-tunes with their model cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from embsweep.cli.composition.compose import config_loader
from embsweep.cli.composition.request import parse_request
from embsweep.config import Config, build_config, check_trainable
from embsweep.core.errors import InputError
from embsweep.recipes.cards import count_steps, find_card, load_cards, read_log, read_queries
from embsweep.recipes.comparison import (
    build_difference,
    build_log,
    build_overview,
    build_recipe,
    compare_recipe,
    describe_difference,
    describe_log,
    describe_queries,
    describe_schedule,
)
from embsweep.sweep.request import SweepRequest


def list_recipes(console: Console) -> None:
    """Print one line per recipe."""
    console.print(build_overview(load_cards()))
    _print_lines(
        console, ["", "Details: embsweep recipe show NAME. To run one: python run_sweep.py +sweep=NAME data.pairs=…"]
    )


def show_recipe(name: str, console: Console) -> None:
    """Print the composed recipe beside its card, and a summary of the training log on the card.

    Raises:
        InputError: If there is no recipe `name`, or its composed configuration is invalid.
    """
    card = find_card(name)
    config, request = _compose(name, ())
    log = read_log(card)
    _print_lines(console, [f"+sweep={name}: {card.model} ({card.subject}, {card.train_pairs:,} training pairs)", ""])
    console.print(build_recipe(compare_recipe(card, config), request.space, request.recipe))
    _print_lines(console, ["", "MAP@100 in the card's log:"])
    console.print(build_log(card, log))
    _print_lines(console, ["", *describe_log(card, log), *describe_schedule(card, log, count_steps(card))])
    _print_lines(console, describe_queries(read_queries(card)))


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
    console.print(build_difference(facts))
    _print_lines(console, ["", *describe_difference(facts)])


def _compose(name: str, overrides: Sequence[str]) -> tuple[Config, SweepRequest]:
    """Compose trial 0 and the request of a preset; a key that `overrides` sweep keeps the recipe's value."""
    with config_loader() as loader:
        request, found = parse_request(loader, [f"+sweep={name}", *overrides], "")
    diagnostics = [diagnostic for diagnostic in found if diagnostic.code != "nothing-to-search"]
    try:
        config = build_config(request.values)
    except InputError as error:
        raise InputError([*diagnostics, *error.diagnostics]) from None
    if diagnostics := [*diagnostics, *check_trainable(config)]:
        raise InputError(diagnostics)
    return config, request


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
