"""Two sweeps side by side, as values: whether their scores can be compared, quality by dimension, what was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embsweep.core.mappings import flatten
from embsweep.reports.html import numbers
from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.dimension_lines import Look, draw_lines
from embsweep.reports.html.charts.theme import ACCENT, SECOND
from embsweep.reports.html.numbers import Sentence
from embsweep.reports.html.page import ReportData
from embsweep.reports.text import gain
from embsweep.selection.evidence import BASE, WINNER, Comparison, Evidence
from embsweep.selection.statistics.significance import compare_models

_LOOKS = {
    f"A {WINNER}": Look(ACCENT, (1, 0), "circle"),
    f"A {BASE}": Look(ACCENT, (4, 3), "triangle-up"),
    f"B {WINNER}": Look(SECOND, (1, 0), "square"),
    f"B {BASE}": Look(SECOND, (4, 3), "diamond"),
}
"""How the lines of side and model are drawn."""


@dataclass(frozen=True)
class SideBySide:
    """Two sweeps side by side.

    `verdict` says in a sentence which is better on test, or why that cannot be said; `chart` is None if one of them has
    no result. `params` are rows of key and both values, of the winners' parameters; `settings` those of both
    configurations that differ.
    """

    verdict: Sentence
    chart: Chart | None
    params: tuple[tuple[str, str, str], ...]
    settings: tuple[tuple[str, str, str], ...]


def compare_sweeps(one: ReportData, other: ReportData) -> SideBySide:
    """Compare two sweeps.

    Args:
        one: The first sweep.
        other: The second one.
    """
    first, second = one.evidence, other.evidence
    names = (one.name, other.name)
    settings = tuple(_list_differing(dict(flatten(one.configuration)), dict(flatten(other.configuration))))
    if first is None or second is None:
        lacking = " and ".join(data.name for data in (one, other) if data.evidence is None)
        return SideBySide((f"{lacking}: no result yet, so there is nothing to compare.",), None, (), settings)
    reason = find_obstacle(first, second)
    found = () if reason else _compare_winners(first, second, names[1])
    verdict: Sentence = (reason,) if reason else _describe(found, names, first.gate.alpha)
    params = tuple(_list_params(first.training.params, second.training.params))
    return SideBySide(verdict, _chart(first, second, names, found), params, settings)


def find_obstacle(one: Evidence, other: Evidence) -> str:
    """Return why the scores of two results cannot be compared, or an empty text.

    Args:
        one: The first result.
        other: The second one.
    """
    if one.data.fingerprint != other.data.fingerprint:
        return (
            "The scores cannot be compared: the data or their split differ "
            f"(fingerprints {one.data.fingerprint[:12]} and {other.data.fingerprint[:12]})."
        )
    if one.metric != other.metric:
        return f"The scores cannot be compared: the metrics are {one.metric.upper()} and {other.metric.upper()}."
    if one.groups != other.groups:
        return "The scores cannot be compared: the test queries are not the same."
    return "" if set(one.dims) & set(other.dims) else "The scores cannot be compared: no dimension is common."


def _compare_winners(one: Evidence, other: Evidence, name: str) -> tuple[Comparison, ...]:
    ours, theirs = one.test[WINNER].per_query, other.test[WINNER].per_query
    return compare_models(ours, {name: theirs}, one.groups, config=one.test_objective, seed=0)


def _describe(found: Sequence[Comparison], names: tuple[str, str], alpha: float) -> Sentence:
    overall = [c for c in found if c.dim is None] or [max(found, key=lambda c: c.dim or 0)]
    c = overall[0]
    what = "objective of the first" if c.dim is None else f"score at {c.dim} dimensions"
    interval = (f" ({what}, same test queries; 95 % interval ", numbers.gain(c.low), " to ", numbers.gain(c.high), ")")
    if c.adjusted_p >= alpha or c.difference == 0:
        return ("No significant difference on test between the winners: ", numbers.gain(c.difference), *interval, ".")
    better, worse = names if c.difference > 0 else names[::-1]
    return (f"The winner of {better} beats that of {worse} on test: ", numbers.gain(c.difference), *interval, ".")


def _chart(one: Evidence, other: Evidence, names: tuple[str, str], found: Sequence[Comparison]) -> Chart:
    dims = sorted({*one.dims, *other.dims})
    sides = {"A": one, "B": other}
    rows = [
        {"line": line, "place": dims.index(dim) + 0.05 * number, "dimension": dim, **record.intervals[dim].model_dump()}
        for number, line in enumerate(_LOOKS)
        for label, model in [line.split()]
        for record in [sides[label].test[model]]
        for dim in sorted(sides[label].dims)
    ]
    return Chart(
        key="side-by-side",
        title=_title(one.metric, names, found),
        description=f"Lines of winner and base model on test by dimension for {names[0]} and {names[1]}.",
        spec=draw_lines(rows, _LOOKS, dims, title="score on test"),
        table=_table(one, other, names, found),
    )


def _title(metric: str, names: tuple[str, str], found: Sequence[Comparison]) -> str:
    largest = max((c for c in found if c.dim is not None), key=lambda c: c.dim or 0, default=None)
    key = f"A is {names[0]}, B is {names[1]}"
    if largest is None:
        return f"{key}; their scores cannot be compared."
    return f"{key}: at {largest.dim} dimensions A's winner minus B's is {gain(largest.difference)} {metric.upper()}."


def _table(one: Evidence, other: Evidence, names: tuple[str, str], found: Sequence[Comparison]) -> ChartTable:
    by_dim = {c.dim: c for c in found}
    rows: list[tuple[Cell, ...]] = []
    for dim in sorted({*one.dims, *other.dims}, reverse=True):
        scores = [
            evidence.test[model].scores[dim][evidence.metric] if dim in evidence.dims else None
            for evidence in (one, other)
            for model in (BASE, WINNER)
        ]
        difference = (None,) * 4 if dim not in by_dim else numbers.difference_cells(by_dim[dim])
        rows.append((dim, *scores, *difference))
    columns = (
        *("dimensions", f"{names[0]}: base", f"{names[0]}: winner", f"{names[1]}: base", f"{names[1]}: winner"),
        *("winners, first minus second", "at least", "at most", "adjusted p"),
    )
    note = "At least and at most bound the 95 % interval of the paired difference on the same test queries."
    return ChartTable(columns, tuple(rows), (note,) if found else ())


def _list_params(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys((*one, *other)):
        yield key, _show(one.get(key)), _show(other.get(key))


def _list_differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield key, _show(one.get(key)), _show(other.get(key))


def _show(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
