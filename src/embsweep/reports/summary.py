"""The result of a finished sweep as text: scores, confirmation of the finalists, winner, next commands."""

from __future__ import annotations

from statistics import mean

from rich.console import Console
from rich.table import Table

from embsweep.reports.text import TABLE_STYLE, PlainLines, gain, score
from embsweep.reports.view import Result
from embsweep.selection.evidence import BASE, BM25, WINNER, Comparison, ConfirmedRecord, Evidence, VerdictRecord


def build_confirmed_table(verdict: VerdictRecord) -> Table:
    """Build the table of the confirmed configurations: objective in the search and in fresh runs; the winner first."""
    table = Table(title="Run again with fresh seeds", **TABLE_STYLE)
    for name in ("trial", "search", "again", "lost", "each run"):
        table.add_column(name, justify="right" if name != "each run" else "left", no_wrap=True)
    rows = sorted(verdict.confirmed, key=lambda facts: (facts.trial != verdict.winner, -_mean(facts), facts.trial))
    for facts in rows:
        table.add_row(*_cells(facts, is_winner=facts.trial == verdict.winner))
    return table


def describe_verdict(verdict: VerdictRecord) -> str:
    """Describe in one sentence how certain the choice of the winner is."""
    if verdict.outcome == "named":
        return f"{verdict.rule}."
    if verdict.outcome == "unconfirmed":
        return "Not confirmed: nothing was run again, so part of the lead may be seed variance."
    tied = ", ".join(str(number) for number in verdict.tied_with)
    return f"Tied: trials {tied} cannot be told apart. {verdict.rule}."


def _mean(facts: ConfirmedRecord) -> float:
    return mean(facts.confirmed) if facts.confirmed else 0.0


def _cells(facts: ConfirmedRecord, *, is_winner: bool) -> tuple[str, ...]:
    mark = "★" if is_winner else ""
    again = mean(facts.confirmed) if facts.confirmed else None
    lost = gain(again - facts.searched) if again is not None and facts.searched is not None else "–"
    each = "  ".join(map(score, facts.confirmed)) + (f"  {facts.failures} failed" if facts.failures else "")
    name = f"{mark}{facts.trial}" + (" recipe" if facts.is_recipe else "")
    return name, score(facts.searched), score(again), lost, each


def print_result(console: Console, result: Result, *, command: str, ui_command: str) -> None:
    """Print the result of a sweep.

    It has the scores of base and winner at each dimension with their significance, the reason for the choice, the
    registered version, and the next commands.

    Args:
        console: Where to print.
        result: Evidence about the winner, and its registered version.
        command: Command line that started the sweep.
        ui_command: Command that opens the MLflow UI.
    """
    evidence, print_line = result.evidence, PlainLines(console)
    print_line("")
    console.print(_scores_table(evidence))
    for line in _evaluation_lines(evidence):
        print_line(line)
    print_line("")
    if evidence.verdict.outcome != "unconfirmed":
        console.print(build_confirmed_table(evidence.verdict))
    for line in (*_winner_lines(evidence), *_next_lines(result, command, ui_command)):
        print_line(line)


def _scores_table(evidence: Evidence) -> Table:
    table = Table(title=f"{evidence.metric.upper()} by dimension", **TABLE_STYLE)
    for name in ("dim", "base", "best", "gain", "", "base", "best", "gain", "95 % of it", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("", "validation", "", "", "  ", "test", "", "", "", "", style="dim")
    against_base = {c.dim: c for c in evidence.comparisons if c.reference == BASE}
    for dim in sorted(evidence.dims, reverse=True):
        base, best = (evidence.validation[name][dim][evidence.metric] for name in (BASE, WINNER))
        base_test, best_test = (evidence.test[name].scores[dim][evidence.metric] for name in (BASE, WINNER))
        table.add_row(
            str(dim),
            *_base_best_gain(base, best),
            "",
            *_base_best_gain(base_test, best_test),
            *_certainty(against_base[dim]),
        )
    return table


def _base_best_gain(base: float, best: float) -> tuple[str, str, str]:
    return score(base), score(best), gain(best - base)


def _certainty(comparison: Comparison) -> tuple[str, str]:
    return f"{gain(comparison.low)} to {gain(comparison.high)}", score(comparison.adjusted_p)


def _evaluation_lines(evidence: Evidence) -> list[str]:
    bm25 = (evidence.validation[BM25], evidence.test[BM25].scores)
    largest = max(evidence.dims)
    validation, test = (scores[largest][evidence.metric] for scores in bm25)
    times = (
        "once"
        if evidence.holdout_evaluations == 1
        else f"{evidence.holdout_evaluations} times, so it may be optimistic"
    )
    queries, groups = len(evidence.groups), len(set(evidence.groups))
    return [
        f"\nBM25: {score(validation)} validation, {score(test)} test. p is adjusted for all comparisons made.",
        f"Validation chose the winner; test ({queries} queries on {groups} passage groups) was evaluated {times}.",
    ]


def _winner_lines(evidence: Evidence) -> list[str]:
    objectives, training = evidence.objectives, evidence.training
    lines = [
        "",
        f"Winner: trial {training.trial}, objective {score(evidence.on_validation(WINNER))} "
        f"(base {score(evidence.on_validation(BASE))})",
        f"  on test {score(objectives[WINNER])} (base {score(objectives[BASE])}), validation minus "
        f"test {gain(evidence.optimism)} (base {gain(evidence.on_validation(BASE) - objectives[BASE])})",
        f"  {describe_verdict(evidence.verdict)}",
        f"  {_describe_gain(evidence)}",
        f"  The smallest dimension not significantly below {max(evidence.dims)}: {evidence.smallest_dim}.",
    ]
    lines += [f"  Weights: {training.run}"] if training.run != f"trial {training.trial}" else []
    lines += [f"  Warning: {warning}" for warning in evidence.verdict.warnings]
    return [*lines, *(f"  {key} = {_shown(value)}" for key, value in training.params.items())]


def _describe_gain(evidence: Evidence) -> str:
    """Describe in one sentence how the winner compares with the untrained base model on test."""
    (overall,) = (c for c in evidence.comparisons if c.reference == BASE and c.dim is None)
    if overall.adjusted_p < evidence.gate.alpha:
        return (
            "It beats the base model on test." if overall.difference > 0 else "It is worse than the base model on test."
        )
    detectable = f"so few queries cannot detect less than {score(overall.detectable)}"
    return f"No significant difference from the base model on test: {gain(overall.difference)}; {detectable}."


def _next_lines(result: Result, command: str, ui_command: str) -> list[str]:
    evidence = result.evidence
    counts = ", ".join(f"{number} {state}" for state, number in evidence.counts.items() if number)
    held = f"every metric within {evidence.verification.difference:.1g} ({evidence.verification.tolerance:g} allowed)"
    lines = [
        f"Trials: {counts}",
        f"Verified: reloaded in a fresh process, {held}",
        f"Registered: {result.registered}",
        f"\nCompare the trials:  {ui_command}",
    ]
    if evidence.space:
        done = sum(evidence.counts.values())
        extended = _extended(command, 2 * done, is_rehearsal=evidence.rehearsal)
        lines.append(f"Extend the sweep:    {extended}   (any number above {done})")
    return [*lines, f"Repeat it afresh:    {command} sweep.fresh=true"]


def _extended(command: str, trials: int, *, is_rehearsal: bool) -> str:
    """Return the command with a larger budget; for a rehearsal, its cap on the budget is raised, too."""
    keys = ["search.trials", *(["scale.rehearsal.max_trials"] if is_rehearsal else [])]
    kept = [part for part in command.split(" ") if part.split("=")[0] not in keys]
    return " ".join([*kept, *(f"{key}={trials}" for key in keys)])


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
