"""Tables of the model card; every number in them comes from the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from embsweep.reports.card.markdown import (
    build_table,
    code,
    number,
    plain,
    probability,
    settings,
    shorten_keys,
    shown,
    signed,
    span,
)
from embsweep.reports.card.wording import column, group_by_model, order_models
from embsweep.selection.evidence import WINNER, Comparison, Evidence
from embsweep.selection.scores import Scores

INTERVAL = "95 % interval"


def results_table(evidence: Evidence) -> str:
    """Build the table of the objective's test metric: a row per dimension, a column per model, our 95 % intervals."""
    names = order_models(evidence.test)
    rows = [_result_row(evidence, dim, names) for dim in sorted(evidence.dims, reverse=True)]
    objective = {column(name): number(evidence.objectives[name]) for name in names if name in evidence.objectives}
    return build_table([*rows, {**dict.fromkeys(rows[0], "–"), "Dimension": "objective", **objective}])


def _result_row(evidence: Evidence, dim: int, names: Iterable[str]) -> dict[str, str]:
    row = {"Dimension": str(dim)}
    for name in names:
        evaluation = evidence.test[name]
        row[column(name)] = number(evaluation.scores[dim][evidence.metric])
        if name == WINNER:
            row[column(name)] = f"**{row[column(name)]}**"
            row[INTERVAL] = span(evaluation.intervals[dim].low, evaluation.intervals[dim].high)
    return row


def metric_table(evidence: Evidence, dim: int) -> str:
    """Build the table of every test metric at one dimension; the objective's metric is bold and has its intervals."""
    names = order_models(evidence.test)
    rows = []
    for metric in evidence.test[WINNER].scores[dim]:
        mark = "**" if metric == evidence.metric else ""
        scores = {column(name): f"{mark}{_score(evidence, name, dim, metric)}{mark}" for name in names}
        rows.append({"Metric": f"{mark}cosine_{metric}{mark}", **scores})
        if metric == evidence.metric:
            rows.append({"Metric": INTERVAL, **{column(name): _interval(evidence, name, dim) for name in names}})
    return build_table(rows)


def _score(evidence: Evidence, name: str, dim: int, metric: str) -> str:
    value = evidence.test[name].scores[dim].get(metric)
    return "–" if value is None else number(value)


def _interval(evidence: Evidence, name: str, dim: int) -> str:
    found = evidence.test[name].intervals.get(dim)
    return "–" if found is None else span(found.low, found.high)


def validation_table(evidence: Evidence) -> str:
    """Build the table of the objective's metric on the validation split, with the objective."""
    sets: Mapping[str, Scores] = evidence.validation
    names = order_models(sets)
    rows = [
        {"Dimension": str(dim), **{column(name): _validation(sets[name], dim, evidence.metric) for name in names}}
        for dim in sorted(evidence.dims, reverse=True)
    ]
    objective = {column(name): number(evidence.on_validation(name)) for name in names}
    return build_table([*rows, {"Dimension": "objective", **objective}])


def _validation(scores: Scores, dim: int, metric: str) -> str:
    return number(scores[dim][metric]) if dim in scores else "–"


def comparisons_table(comparisons: Iterable[Comparison]) -> str:
    """Build the table of comparisons, one row each."""
    rows = [_comparison_row(one) for found in group_by_model(comparisons).values() for one in found]
    return build_table(rows) if rows else "None was made."


def _comparison_row(comparison: Comparison) -> dict[str, str]:
    return {
        "Against": column(comparison.reference),
        "Dimension": "objective" if comparison.dim is None else str(comparison.dim),
        "Difference": signed(comparison.difference),
        INTERVAL: span(comparison.low, comparison.high),
        "p": probability(comparison.p_value),
        "Adjusted p": probability(comparison.adjusted_p),
        "Detectable": number(comparison.detectable),
        "Queries": str(comparison.queries),
        "Groups": str(comparison.groups),
    }


def space_table(evidence: Evidence) -> str:
    """Build the table of the search space and the chosen values."""
    chosen = evidence.training.params
    keys = [*evidence.space, *(key for key in chosen if key not in evidence.space)]
    rows = [
        {
            "Parameter": code(key),
            "Searched": code(evidence.space[key]) if key in evidence.space else "–",
            "Chosen": code(shown(chosen[key])) if key in chosen else "–",
        }
        for key in keys
    ]
    return build_table(rows) if rows else "The space is empty: one configuration was trained."


def finalists_table(evidence: Evidence) -> str:
    """Build the table of the finalists: validation objective in the search, and for each fresh seed."""
    verdict = evidence.verdict
    rows = [
        {
            "Trial": f"**{found.trial}**" if found.trial == verdict.winner else str(found.trial),
            "Parameters": ("recipe: " if found.is_recipe else "") + settings(shorten_keys(found.params)),
            "In the search": "–" if found.searched is None else number(found.searched),
            "Run again": ", ".join(map(number, found.confirmed)) or "–",
            "Failed": str(found.failures),
        }
        for found in verdict.confirmed
    ]
    return build_table(rows)


def audit_table(evidence: Evidence) -> str:
    """Build the table of the audit's findings, errors first; waived ones are marked."""
    order = ("error", "warning", "note")
    rows = [
        {
            "Severity": f"**{found.severity}, waived**" if found.waived else found.severity,
            "Finding": code(found.name),
            "What was found": plain(found.message),
        }
        for found in sorted(evidence.audit, key=lambda found: order.index(found.severity))
    ]
    return build_table(rows) if rows else "The audit found nothing."
