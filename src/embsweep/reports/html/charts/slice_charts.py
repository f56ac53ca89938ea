"""Chart of the slices of the test queries: what the winner gains over the base model in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embsweep.reports.html import numbers
from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.theme import ACCENT, INK, lite, name_axis
from embsweep.reports.html.numbers import probability
from embsweep.reports.text import gain
from embsweep.selection.evidence import Evidence, Interval
from embsweep.selection.slices import SliceResult, worst_slice


def slice_chart(evidence: Evidence, results: Sequence[SliceResult]) -> Chart | None:
    """Return the chart of the slices; None without slices.

    Args:
        evidence: The evidence.
        results: Its slices.
    """
    if not results:
        return None
    largest, metric = max(evidence.dims), evidence.metric.upper()
    return Chart(
        key="slices",
        title=_title(results, metric),
        description=f"Gain of the winner over the base model in {metric} at {largest} dimensions for each slice.",
        spec=_spec(results, metric),
        table=_table(results, metric, largest),
    )


def _title(results: Sequence[SliceResult], metric: str) -> str:
    worst = worst_slice(results)
    if worst is None or worst.difference is None:
        judged = sum(result.difference is not None for result in results)
        return f"The winner is below the base model in none of the {judged} slices with enough queries."
    certainty = "" if worst.is_significant_loss else ", no significant loss"
    return f"“{worst.name}” lost most: {gain(worst.difference.mean)} {metric}{certainty}."


def _spec(results: Sequence[SliceResult], metric: str) -> dict[str, Any]:
    judged = [result for result in results if result.difference is not None]
    rows = [
        {"slice": r.name, "queries": r.queries, **r.difference.model_dump(), "lost": r.is_significant_loss}
        for r in judged
        if r.difference is not None
    ]
    names = [result.name for result in judged]
    y = {"field": "slice", "type": "nominal", "sort": names, "title": None, "axis": name_axis(names, limit=160)}
    x = {"field": "mean", "type": "quantitative", "title": f"gain over the base model, {metric}"}
    tooltip = [
        {"field": "slice", "type": "nominal"},
        {"field": "queries", "type": "quantitative"},
        *({"field": name, "type": "quantitative", "format": "+.4f"} for name in ("mean", "low", "high")),
    ]
    layers: list[dict[str, Any]] = [
        {"data": {"values": [{}]}, "mark": {"type": "rule", "opacity": 0.6}, "encoding": {"x": {"datum": 0}}},
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "size": 80, "opacity": 1, "filled": True},
            "encoding": {
                "y": y,
                "x": x,
                "shape": {"condition": {"test": "datum.lost", "value": "triangle-down"}, "value": "circle"},
                "color": {"condition": {"test": "datum.lost", "value": INK}, "value": ACCENT},
                "tooltip": tooltip,
            },
        },
    ]
    return lite(layers, rows, height=40 + 26 * len(judged))


def _table(results: Sequence[SliceResult], metric: str, largest: int) -> ChartTable:
    columns = (
        *("slice", "queries", "passage groups", "base", "winner", "gain", "at least", "at most"),
        *("adjusted p", "significant loss"),
    )
    rows = tuple(
        (
            *(r.name, r.queries, r.groups, _mean(r.base), _mean(r.winner)),
            *_difference_cells(r.difference),
            *(None if r.adjusted_p is None else probability(r.adjusted_p), "yes" if r.is_significant_loss else ""),
        )
        for r in results
    )
    note = (
        f"{metric} at {largest} dimensions on test. At least and at most bound the 95 % interval of the gain; p is "
        "adjusted for all slices. A slice with too few passage groups has no scores."
    )
    return ChartTable(columns, rows, (note,))


def _difference_cells(difference: Interval | None) -> tuple[Cell, ...]:
    return (
        (None,) * 3
        if difference is None
        else tuple(map(numbers.gain, (difference.mean, difference.low, difference.high)))
    )


def _mean(interval: Interval | None) -> float | None:
    return None if interval is None else interval.mean
