"""The confirmation as a person reads it: every configuration that was run again, and what was decided."""

from __future__ import annotations

from statistics import mean

from rich.table import Table

from embsweep.decide.evidence import ConfirmedFacts, VerdictFacts
from embsweep.report.text import TABLE_STYLE, gain, score


def build_confirmed_table(verdict: VerdictFacts) -> Table:
    """A row for each configuration: what the search saw, and what its fresh runs gave; the winner first."""
    table = Table(title="Run again with fresh seeds", **TABLE_STYLE)
    for name in ("trial", "search", "again", "lost", "each run"):
        table.add_column(name, justify="right" if name != "each run" else "left", no_wrap=True)
    rows = sorted(verdict.confirmed, key=lambda facts: (facts.trial != verdict.winner, -_mean(facts), facts.trial))
    for facts in rows:
        table.add_row(*_cells(facts, is_winner=facts.trial == verdict.winner))
    return table


def describe_verdict(verdict: VerdictFacts) -> str:
    """What the confirmation says about the choice, in one sentence."""
    if verdict.outcome == "named":
        return f"{verdict.rule}."
    if verdict.outcome == "unconfirmed":
        return "Not confirmed: nothing was run again, so part of the lead may be the luck of one seed."
    tied = ", ".join(str(number) for number in verdict.tied_with)
    return f"Tied: trials {tied} cannot be told apart. {verdict.rule}."


def _mean(facts: ConfirmedFacts) -> float:
    return mean(facts.confirmed) if facts.confirmed else 0.0


def _cells(facts: ConfirmedFacts, *, is_winner: bool) -> tuple[str, ...]:
    mark = "★" if is_winner else ""
    again = mean(facts.confirmed) if facts.confirmed else None
    lost = gain(again - facts.searched) if again is not None and facts.searched is not None else "–"
    each = "  ".join(map(score, facts.confirmed)) + (f"  {facts.failures} failed" if facts.failures else "")
    name = f"{mark}{facts.trial}" + (" recipe" if facts.is_recipe else "")
    return name, score(facts.searched), score(again), lost, each
