"""The result of a finished sweep, as a person reads it.

The confirmation as a person reads it: every configuration that was run again, and what was decided.
"""

from __future__ import annotations

from statistics import mean

from rich.console import Console
from rich.table import Table

from embsweep.reports.text import TABLE_STYLE, PlainLines, gain, score
from embsweep.reports.view import Result
from embsweep.selection.evidence import BASE, BM25, WINNER, Comparison, ConfirmedRecord, Evidence, VerdictRecord


def build_confirmed_table(verdict: VerdictRecord) -> Table:
    """A row for each configuration: what the search saw, and what its fresh runs gave; the winner first."""
    table = Table(title="Run again with fresh seeds", **TABLE_STYLE)
    for name in ("trial", "search", "again", "lost", "each run"):
        table.add_column(name, justify="right" if name != "each run" else "left", no_wrap=True)
    rows = sorted(verdict.confirmed, key=lambda facts: (facts.trial != verdict.winner, -_mean(facts), facts.trial))
    for facts in rows:
        table.add_row(*_cells(facts, is_winner=facts.trial == verdict.winner))
    return table


def describe_verdict(verdict: VerdictRecord) -> str:
    """What the confirmation says about the choice, in one sentence."""
    if verdict.outcome == "named":
        return f"{verdict.rule}."
    if verdict.outcome == "unconfirmed":
        return "Not confirmed: nothing was run again, so part of the lead may be the luck of one seed."
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
    """Per dimension base and winner, how sure that is, why it was chosen, where the model is, and what to do next."""
    evidence, say = result.evidence, PlainLines(console)
    say("")
    console.print(_scores_table(evidence))
    for line in _read_lines(evidence):
        say(line)
    say("")
    if evidence.verdict.outcome != "unconfirmed":
        console.print(build_confirmed_table(evidence.verdict))
    for line in (*_winner_lines(evidence), *_next_lines(result, command, ui_command)):
        say(line)


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


def _read_lines(evidence: Evidence) -> list[str]:
    bm25 = (evidence.validation[BM25], evidence.test[BM25].scores)
    largest = max(evidence.dims)
    validation, test = (scores[largest][evidence.metric] for scores in bm25)
    looks = (
        "once"
        if evidence.holdout_evaluations == 1
        else f"in {evidence.holdout_evaluations} looks, the later ones no longer untouched"
    )
    queries, groups = len(evidence.groups), len(set(evidence.groups))
    return [
        f"\nBM25: {score(validation)} validation, {score(test)} test. p is adjusted for all comparisons made.",
        f"Validation chose the winner; test ({queries} queries on {groups} passage groups) was read {looks}.",
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
    """Whether the winner beats the untrained base model on test, in one sentence."""
    (overall,) = (c for c in evidence.comparisons if c.reference == BASE and c.dim is None)
    if overall.adjusted_p < evidence.gate.alpha:
        return (
            "It beats the base model on test." if overall.difference > 0 else "It is worse than the base model on test."
        )
    detectable = f"so few queries show no difference below {score(overall.detectable)}"
    return f"No difference from the base model is certain on test: {gain(overall.difference)}, and {detectable}."


def _next_lines(result: Result, command: str, ui_command: str) -> list[str]:
    evidence = result.evidence
    counts = ", ".join(f"{number} {state}" for state, number in evidence.counts.items() if number)
    held = f"every metric within {evidence.proof.difference:.1g} ({evidence.proof.tolerance:g} allowed)"
    lines = [
        f"Trials: {counts}",
        f"Proven: read back in a fresh process, {held}",
        f"Registered: {result.registered}",
        f"\nCompare the trials:  {ui_command}",
    ]
    if evidence.space:
        done = sum(evidence.counts.values())
        extended = _extended(command, 2 * done, is_rehearsal=evidence.rehearsal)
        lines.append(f"Extend the sweep:    {extended}   (any number above {done})")
    return [*lines, f"Repeat it afresh:    {command} sweep.fresh=true"]


def _extended(command: str, trials: int, *, is_rehearsal: bool) -> str:
    """The command with a larger budget; a rehearsal's cap on it is raised too."""
    keys = ["search.trials", *(["scale.rehearsal.max_trials"] if is_rehearsal else [])]
    kept = [part for part in command.split(" ") if part.split("=")[0] not in keys]
    return " ".join([*kept, *(f"{key}={trials}" for key in keys)])


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
