"""`embsweep recipe`: the three published fine-tunes, as composed here, against what their cards say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from embsweep.cli.composition.compose import config_loader
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.composition.request import EMPTY_SPACE, parse_request
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
    """Print a line for each recipe."""
    console.print(build_overview(load_cards()))
    _say(console, ["", "embsweep recipe show NAME explains one; python run_sweep.py +sweep=NAME data.pairs=… runs it."])


def show_recipe(name: str, console: Console) -> None:
    """Print a recipe as it is composed, and what its card's log says. InputError for an unknown name."""
    card = find_card(name)
    config, request = _compose(name, ())
    log = read_log(card)
    _say(console, [f"+sweep={name}: {card.model} ({card.subject}, {card.train_pairs:,} training pairs)", ""])
    console.print(build_recipe(compare_recipe(card, config), request.space, request.recipe))
    _say(console, ["", "MAP@100 in the card's log:"])
    console.print(build_log(card, log))
    _say(console, ["", *describe_log(card, log), *describe_schedule(card, log, count_steps(card))])
    _say(console, describe_queries(read_queries(card)))


def diff_recipe(name: str, overrides: Sequence[str], console: Console) -> None:
    """Print every fact of a card beside the recipe's value under `overrides`. InputError with every fault."""
    card = find_card(name)
    config, _ = _compose(name, overrides)
    facts = compare_recipe(card, config)
    console.print(build_difference(facts))
    _say(console, ["", *describe_difference(facts)])


def _compose(name: str, overrides: Sequence[str]) -> tuple[Config, SweepRequest]:
    """The named sweep's trial 0 and its request; a key that is swept on the command line keeps the recipe's value."""
    with config_loader() as loader:
        good, diagnostics = check_overrides(loader, [f"+sweep={name}", *overrides])
        request, more = parse_request(loader, good, "")
    diagnostics = [*diagnostics, *(diagnostic for diagnostic in more if diagnostic != EMPTY_SPACE)]
    try:
        config = build_config(request.values)
    except InputError as error:
        raise InputError([*diagnostics, *error.diagnostics]) from None
    if diagnostics := [*diagnostics, *check_trainable(config)]:
        raise InputError(diagnostics)
    return config, request


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
