"""The result of a finished sweep as text: scores, confirmation of the finalists, winner, next commands."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from rich.console import Console
from rich.table import Table

from embsweep.reports.text import TABLE_STYLE, gain, plain_printer, score
from embsweep.reports.view import Result
from embsweep.selection.evidence import BASE, BM25, WINNER, Evidence, VerdictRecord


def build_confirmed_table(verdict: VerdictRecord) -> Table:
    """Build the table of the confirmed configurations: objective in the search and in fresh runs; the winner first."""
    table = Table(title="Run again with fresh seeds", **TABLE_STYLE)
    for name in ("trial", "search", "again", "lost", "each run"):
        table.add_column(name, justify="right" if name != "each run" else "left", no_wrap=True)
    means = {facts.trial: mean(facts.confirmed) if facts.confirmed else None for facts in verdict.confirmed}
    rows = sorted(verdict.confirmed, key=lambda f: (f.trial != verdict.winner, -(means[f.trial] or 0.0), f.trial))
    for facts in rows:
        again = means[facts.trial]
        lost = gain(again - facts.searched) if again is not None and facts.searched is not None else "–"
        each = "  ".join(map(score, facts.confirmed)) + (f"  {facts.failures} failed" if facts.failures else "")
        name = f"{'★' * (facts.trial == verdict.winner)}{facts.trial}" + (" recipe" if facts.is_recipe else "")
        table.add_row(name, score(facts.searched), score(again), lost, each)
    return table


def describe_verdict(verdict: VerdictRecord) -> str:
    """Describe in one sentence how certain the choice of the winner is."""
    if verdict.outcome == "named":
        return f"{verdict.rule}."
    if verdict.outcome == "unconfirmed":
        return "Not confirmed: nothing was run again, so part of the lead may be seed variance."
    tied = ", ".join(str(number) for number in verdict.tied_with)
    return f"Tied: trials {tied} cannot be told apart. {verdict.rule}."


@dataclass(frozen=True)
class NextCommands:
    """Complete command lines: that of the sweep, the one that opens the MLflow UI, and the one that promotes."""

    sweep: str
    ui: str
    promote: str


def print_result(console: Console, result: Result, commands: NextCommands) -> None:
    """Print the result of a sweep.

    It has the scores of base and winner at each dimension with their significance, the reason for the choice, the
    registered version, and the next commands.

    Args:
        console: Where to print.
        result: Evidence about the winner, and its registered version.
        commands: Command lines to show.
    """
    evidence, print_line = result.evidence, plain_printer(console)
    print_line("")
    console.print(_scores_table(evidence))
    print_line("\n".join([*_evaluation_lines(evidence), ""]))
    if evidence.verdict.outcome != "unconfirmed":
        console.print(build_confirmed_table(evidence.verdict))
    print_line("\n".join([*_winner_lines(evidence), *_next_lines(result, commands)]))


def _scores_table(evidence: Evidence) -> Table:
    table = Table(title=f"{evidence.metric.upper()} by dimension", **TABLE_STYLE)
    for name in ("dim", "base", "best", "gain", "", "base", "best", "gain", "95 % of it", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("", "validation", "", "", "  ", "test", "", "", "", "", style="dim")
    against_base = {c.dim: c for c in evidence.comparisons if c.reference == BASE}
    for dim in sorted(evidence.dims, reverse=True):
        pairs = (
            (scores[BASE][dim][evidence.metric], scores[WINNER][dim][evidence.metric])
            for scores in (evidence.validation, {name: found.scores for name, found in evidence.test.items()})
        )
        validation, test = ((score(base), score(best), gain(best - base)) for base, best in pairs)
        c = against_base[dim]
        certainty = (f"{gain(c.low)} to {gain(c.high)}", score(c.adjusted_p))
        table.add_row(str(dim), *validation, "", *test, *certainty)
    return table


def _evaluation_lines(evidence: Evidence) -> list[str]:
    largest, times = max(evidence.dims), evidence.holdout_evaluations
    validation, test = (
        scores[largest][evidence.metric] for scores in (evidence.validation[BM25], evidence.test[BM25].scores)
    )
    often = "once" if times == 1 else f"{times} times, so it may be optimistic"
    queries, groups = len(evidence.groups), len(set(evidence.groups))
    return [
        f"\nBM25: {score(validation)} validation, {score(test)} test. p is adjusted for all comparisons made.",
        f"Validation chose the winner; test ({queries} queries on {groups} passage groups) was evaluated {often}.",
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
        return f"It {'beats' if overall.difference > 0 else 'is worse than'} the base model on test."
    if overall.detectable == 0:
        return "No difference from the base model on test: every query has the same score."
    detectable = f"compared in pairs, so few queries cannot detect less than {score(overall.detectable)}"
    return f"No significant difference from the base model on test: {gain(overall.difference)}; {detectable}."


def _next_lines(result: Result, commands: NextCommands) -> list[str]:
    evidence = result.evidence
    counts = ", ".join(f"{number} {state}" for state, number in evidence.counts.items() if number)
    held = f"every metric within {evidence.verification.difference:.1g} ({evidence.verification.tolerance:g} allowed)"
    lines = [
        f"Trials: {counts}",
        f"Verified: reloaded in a fresh process, {held}",
        f"Registered: {result.registered}",
        *([f"Report: {result.report}"] if result.report else []),
        f"\nCompare the trials:  {commands.ui}",
        f"Promote the winner:  {commands.promote}",
    ]
    if evidence.space and not result.is_whole_space:
        done = sum(evidence.counts.values())
        extended = _extended(commands.sweep, 2 * done, is_rehearsal=evidence.rehearsal)
        lines.append(f"Extend the sweep:    {extended}   (any number above {done})")
    return [*lines, f"Repeat it afresh:    {commands.sweep} sweep.fresh=true"]


def _extended(command: str, trials: int, *, is_rehearsal: bool) -> str:
    """Return the command with a larger budget; for a rehearsal, its cap on the budget is raised, too."""
    keys = ["search.trials", *(["scale.rehearsal.max_trials"] if is_rehearsal else [])]
    kept = [part for part in command.split(" ") if part.split("=")[0] not in keys]
    return " ".join([*kept, *(f"{key}={trials}" for key in keys)])


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
