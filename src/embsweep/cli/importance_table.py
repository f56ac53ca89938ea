"""The table of what mattered in a sweep: parameters in rows, the objective and each dimension in columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from embsweep.cli.console import number_table
from embsweep.reports.text import plain_printer
from embsweep.search.attribution import Share, TargetImportance
from embsweep.search.importance import OBJECTIVE, Importance


def print_importance(importance: Importance, console: Console) -> None:
    """Print what mattered as a table, or in one sentence why nothing can be said.

    Args:
        importance: What mattered.
        console: The console to print to.
    """
    say, targets = plain_printer(console), importance.targets
    if any(target.shares for target in targets.values()):
        say(f"\nShare of each parameter in what distinguishes the best of {targets[OBJECTIVE].trials} trials")
        console.print(_build_table(importance))
        for line in _notes(importance):
            say(line)
    reasons: dict[str, list[str]] = {}
    for name, target in targets.items():
        if target.reason:
            reasons.setdefault(target.reason, []).append(name)
    for reason, names in reasons.items():
        is_all = len(names) == len(targets)
        say(f"{'What mattered' if is_all else ', '.join(names)}: {reason}.")


def _build_table(importance: Importance) -> Table:
    objective, *others = importance.targets.values()
    dims = [name.rpartition("/")[2] for name in importance.targets if name != OBJECTIVE]
    table = number_table("parameter", "objective", "90% interval", *dims)
    order = sorted(importance.params, key=lambda key: -_largest(importance, key))
    for key in order:
        share = objective.shares.get(key)
        cells = [_percent(target.shares.get(key)) for target in others]
        table.add_row(Text(key), _percent(share), _interval(share), *cells)
    return table


def _notes(importance: Importance) -> Iterator[str]:
    """Yield what the columns of the dimensions are, and which parameters have no share."""
    others = [name for name in importance.targets if name != OBJECTIVE]
    if others:
        dims = ", ".join(name.rpartition("/")[2] for name in others)
        yield f"{dims}: {others[0].rpartition('/')[0]} at that dimension"
    found = [target.shares for target in importance.targets.values() if target.shares]
    if absent := [key for key in importance.params if not any(key in shares for shares in found)]:
        yield f"The same value in every trial: {', '.join(absent)}"


def _largest(importance: Importance, key: str) -> float:
    """Return the share in the objective, or the largest one in a metric if nothing can be said about the objective."""
    objective, *others = importance.targets.values()
    return max(_value(target, key) for target in ([objective] if objective.shares else others))


def _value(target: TargetImportance, key: str) -> float:
    share = target.shares.get(key)
    return -1.0 if share is None else share.share


def _percent(share: Share | None) -> str:
    return "–" if share is None else f"{share.share:.0%}"


def _interval(share: Share | None) -> str:
    return "–" if share is None else f"{share.low:.0%} to {share.high:.0%}"
