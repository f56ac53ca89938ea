"""Charts of quality by dimension: scores of base, BM25, recipe and winner, and what smaller dimensions keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html import numbers
from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.dimension_lines import (
    Look,
    dimension_axis,
    draw_lines,
    interval_layers,
    interval_tooltip,
)
from embsweep.reports.html.charts.theme import ACCENT, INK, SECOND, lite
from embsweep.reports.html.figures import Figures, find_comparison
from embsweep.reports.text import score
from embsweep.selection.evidence import BASE, BM25, RECIPE, WINNER, Evidence, Interval

_LOOKS: Mapping[str, Look] = {
    WINNER: Look(ACCENT, (1, 0), "circle"),
    RECIPE: Look(SECOND, (8, 3), "square"),
    BASE: Look(INK, (4, 3), "triangle-up"),
    BM25: Look(INK, (1, 3), "diamond"),
}
"""How each model is drawn, in the order of the columns."""

_OFFSET = 0.06


def shown_models(evidence: Evidence) -> list[str]:
    """Return the models that are shown at every dimension, the winner first."""
    return [name for name in _LOOKS if name in evidence.test]


def quality_chart(evidence: Evidence, figures: Figures) -> Chart:
    """Return the chart of test scores by dimension.

    Args:
        evidence: The evidence.
        figures: What follows from it.
    """
    dims, models, metric = sorted(evidence.dims), shown_models(evidence), evidence.metric.upper()
    rows = [
        {
            "line": name,
            "place": place + _OFFSET * (number - (len(models) - 1) / 2),
            "dimension": dim,
            **evidence.test[name].intervals[dim].model_dump(),
        }
        for number, name in enumerate(models)
        for place, dim in enumerate(dims)
    ]
    largest = dims[-1]
    best, base = (evidence.test[name].intervals[largest].mean for name in (WINNER, BASE))
    return Chart(
        key="quality",
        title=f"At {largest} dimensions the winner has {score(best)} {metric} on test, the base model {score(base)}.",
        description=f"Lines of {metric} on test by dimension for {', '.join(models)}, with 95 % intervals.",
        spec=draw_lines(rows, {name: _LOOKS[name] for name in models}, dims, title=f"{metric} on test"),
        table=_quality_table(evidence, models, figures.retention.get(WINNER, {})),
    )


def _quality_table(evidence: Evidence, models: Sequence[str], retention: Mapping[int, Interval]) -> ChartTable:
    rows = []
    for dim in sorted(evidence.dims, reverse=True):
        scores = [evidence.test[name].intervals[dim] for name in models]
        cells: list[Cell] = [scores[0].mean, scores[0].low, scores[0].high, *(one.mean for one in scores[1:])]
        against = find_comparison(evidence, BASE, dim)
        cells += [None] * 4 if against is None else numbers.difference_cells(against)
        rows.append((dim, *cells, numbers.percent(retention[dim].mean) if dim in retention else None))
    names = (WINNER, "from", "to", *models[1:])
    columns = ("dimensions", *names, "gain over base", "at least", "at most", "adjusted p", "share of the largest")
    return ChartTable(columns, tuple(rows), (_explain(evidence),))


def _explain(evidence: Evidence) -> str:
    queries, groups, often = len(evidence.groups), len(set(evidence.groups)), evidence.holdout_evaluations
    times = "once" if often == 1 else f"{often} times, so its scores may be optimistic"
    return (
        f"{evidence.metric.upper()} on the test split of {queries:,} queries on {groups:,} passage groups, which was "
        f"evaluated {times}. From and to, at least and at most bound the 95 % interval; p is adjusted for all "
        "comparisons made. BM25 has no dimensions. The share is the winner's score divided by its score at the largest "
        "dimension."
    )


def retention_chart(evidence: Evidence, figures: Figures) -> Chart | None:
    """Return the chart of the share of the largest dimension's score at each smaller one; None with one dimension.

    Args:
        evidence: The evidence.
        figures: What follows from it.
    """
    dims, found = sorted(evidence.dims), figures.retention
    if len(dims) < 2 or WINNER not in found:
        return None
    smallest, largest, metric = dims[0], dims[-1], evidence.metric.upper()
    kept = found[WINNER][smallest]
    title = f"At {smallest} dimensions the winner keeps {numbers.percent(kept.mean)} of its {metric} at {largest}"
    if (before := found.get(BASE, {}).get(smallest)) is not None:
        title += f"; the base model keeps {numbers.percent(before.mean)} of its own"
    rows = [
        {"model": name, "place": place + 0.12 * number, "dimension": dim, **found[name][dim].model_dump()}
        for number, name in enumerate(found)
        for place, dim in enumerate(dims)
    ]
    return Chart(
        key="retention",
        title=title + ".",
        description=f"Share of the largest dimension's {metric} on test by dimension, with 95 % intervals.",
        spec=_retention_spec(rows, dims),
        table=_retention_table(found, dims),
    )


def _retention_spec(rows: Sequence[Mapping[str, Any]], dims: Sequence[int]) -> dict[str, Any]:
    looks = {name: _LOOKS[name] for name in (WINNER, BASE)}
    color = {"field": "model", "scale": {"domain": list(looks), "range": [one.color for one in looks.values()]}}
    shape = {"field": "model", "scale": {"domain": list(looks), "range": [one.shape for one in looks.values()]}}
    y = {"field": "mean", "type": "quantitative", "title": "share of the largest", "scale": {"zero": False}}
    y["axis"] = {"format": ".0%"}
    titled = {"color": {**color, "title": None}, "shape": {**shape, "title": None}}
    whole = {"data": {"values": [{}]}, "mark": {"type": "rule", "opacity": 0.5}, "encoding": {"y": {"datum": 1}}}
    tooltip = interval_tooltip("model", ".1%")
    return lite([whole, *interval_layers(dimension_axis(dims), y, **titled, tooltip=tooltip)], rows, height=200)


def _retention_table(found: Mapping[str, Mapping[int, Interval]], dims: Sequence[int]) -> ChartTable:
    columns = ("dimensions", *(part for name in found for part in (f"{name} keeps", "at least", "at most")))
    rows = tuple(
        (
            dim,
            *(
                cell
                for kept in found.values()
                for cell in (
                    map(numbers.percent, (kept[dim].mean, kept[dim].low, kept[dim].high))
                    if dim in kept
                    else (None,) * 3
                )
            ),
        )
        for dim in reversed(dims)
    )
    return ChartTable(columns, rows, ("At least and at most bound the 95 % interval.",))
