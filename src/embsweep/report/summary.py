"""The result of a finished sweep, as a person reads it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from embsweep.report.text import gain, score
from embsweep.report.view import Result

_METRIC = "map@100"


def print_result(console: Console, result: Result, *, command: str, ui_command: str) -> None:
    """Per dimension base and best, the winning parameters, where the model is, and what to do next."""
    console.print()
    console.print(_scores_table(result))
    console.print(
        f"\nBM25: {score(result.bm25_validation)} validation, {score(result.bm25_test)} test. "
        "Validation chose the winner; test was read once, afterwards.",
        soft_wrap=True,
        highlight=False,
    )
    say = _Plain(console)
    base = score(result.baseline_objective)
    say(f"\nWinner: trial {result.winner}, objective {score(result.objective)} (base {base})")
    if result.objective <= result.baseline_objective:
        say("  No trial beats the untrained base model: serve that one.")
    for key, value in result.params.items():
        say(f"  {key} = {_shown(value)}")
    counts = ", ".join(f"{number} {state}" for state, number in result.counts.items() if number)
    say(f"Trials: {counts}")
    say(f"Registered: {result.registered}")
    say(f"\nCompare the trials:  {ui_command}")
    if result.params:
        done = sum(result.counts.values())
        say(f"Extend the sweep:    {_extended(command, 2 * done, result)}   (any number above {done})")
    say(f"Repeat it afresh:    {command} sweep.fresh=true")


def _scores_table(result: Result) -> Table:
    table = Table(title="MAP@100 by dimension", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("dim", "base", "best", "gain", "", "base", "best", "gain"):
        table.add_column(name, justify="right")
    table.add_row("", "validation", "", "", "  ", "test", "", "", style="dim")
    for dim in sorted(result.validation, reverse=True):
        table.add_row(
            str(dim),
            *_base_best_gain(result.base_validation[dim][_METRIC], result.validation[dim][_METRIC]),
            "",
            *_base_best_gain(result.base_test[dim][_METRIC], result.test[dim][_METRIC]),
        )
    return table


def _base_best_gain(base: float, best: float) -> tuple[str, str, str]:
    return score(base), score(best), gain(best - base)


def _extended(command: str, trials: int, result: Result) -> str:
    """The command with a larger budget; a rehearsal's cap on it is raised too."""
    keys = ["search.trials", *(["scale.rehearsal.max_trials"] if result.is_rehearsal else [])]
    kept = [part for part in command.split(" ") if part.split("=")[0] not in keys]
    return " ".join([*kept, *(f"{key}={trials}" for key in keys)])


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Plain:
    """Prints a line as it is: no wrapping, no markup, so that commands can be copied."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
