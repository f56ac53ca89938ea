"""Charts of quality by dimension: scores of base, BM25, recipe and winner, and what smaller dimensions keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html import numbers
from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.theme import ACCENT, HEIGHT, INK, LABEL_PX, SECOND, lite, spread
from embsweep.reports.html.figures import Figures
from embsweep.reports.text import score
from embsweep.selection.evidence import BASE, BM25, RECIPE, WINNER, Comparison, Evidence, Interval

_LOOKS: Mapping[str, tuple[str, list[int], str]] = {
    WINNER: (ACCENT, [1, 0], "circle"),
    RECIPE: (SECOND, [8, 3], "square"),
    BASE: (INK, [4, 3], "triangle-up"),
    BM25: (INK, [1, 3], "diamond"),
}
"""Colour, dashes and shape of each model, the order of the columns."""

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
            "model": name,
            "place": place + _OFFSET * (number - (len(models) - 1) / 2),
            "dimension": dim,
            **evidence.test[name].intervals[dim].model_dump(),
        }
        for number, name in enumerate(models)
        for place, dim in enumerate(dims)
    ]
    largest = dims[-1]
    best = evidence.test[WINNER].intervals[largest].mean
    base = evidence.test[BASE].intervals[largest].mean
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    ends = [evidence.test[name].intervals[largest].mean for name in models]
    labels = [
        {"model": name, "place": len(dims) - 1 + 0.2, "at": at}
        for name, at in zip(models, spread(ends, LABEL_PX * (high - low or 1) / HEIGHT), strict=True)
    ]
    return Chart(
        key="quality",
        title=f"At {largest} dimensions the winner has {score(best)} {metric} on test, the base model {score(base)}.",
        description=f"Lines of {metric} on test by dimension for {', '.join(models)}, with 95 % intervals.",
        spec=_quality_spec(rows, labels, [str(dim) for dim in dims], metric),
        table=_quality_table(evidence, models, figures.retention.get(WINNER, {})),
    )


def _quality_spec(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]], dims: list[str], metric: str
) -> dict[str, Any]:
    names = list(_LOOKS)
    looks = [_LOOKS[name] for name in names]
    color = {"field": "model", "scale": {"domain": names, "range": [look[0] for look in looks]}, "legend": None}
    dash = {"field": "model", "scale": {"domain": names, "range": [look[1] for look in looks]}, "legend": None}
    shape = {"field": "model", "scale": {"domain": names, "range": [look[2] for look in looks]}, "legend": None}
    x = {
        "field": "place",
        "type": "quantitative",
        "title": "dimensions",
        "scale": {"domain": [-0.3, len(dims) - 1 + 0.3], "nice": False},
        "axis": {"values": list(range(len(dims))), "labelExpr": f"{dims}[datum.value]", "grid": False},
    }
    y = {"field": "mean", "type": "quantitative", "title": f"{metric} on test", "scale": {"zero": False}}
    tooltip = [
        {"field": "model", "type": "nominal"},
        {"field": "dimension", "type": "quantitative"},
        *({"field": name, "type": "quantitative", "format": ".4f"} for name in ("mean", "low", "high")),
    ]
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": color},
        },
        {"mark": {"type": "line"}, "encoding": {"x": x, "y": y, "color": color, "strokeDash": dash}},
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": color, "shape": shape, "tooltip": tooltip},
        },
        {
            "data": {"values": list(labels)},
            "mark": {"type": "text", "align": "left", "baseline": "middle"},
            "encoding": {
                "x": {"field": "place", "type": "quantitative"},
                "y": {"field": "at", "type": "quantitative"},
                "text": {"field": "model"},
            },
        },
    ]
    return lite(layers, rows, padding={"left": 4, "top": 4, "right": 56, "bottom": 4})


def _quality_table(evidence: Evidence, models: Sequence[str], retention: Mapping[int, Interval]) -> ChartTable:
    rows = []
    for dim in sorted(evidence.dims, reverse=True):
        scores = [evidence.test[name].intervals[dim] for name in models]
        cells: list[Cell] = [scores[0].mean, scores[0].low, scores[0].high, *(one.mean for one in scores[1:])]
        against = find_comparison(evidence, BASE, dim)
        cells += [None] * 4 if against is None else _difference_cells(against)
        rows.append((dim, *cells, numbers.percent(retention[dim].mean) if dim in retention else None))
    names = (WINNER, "from", "to", *models[1:])
    columns = ("dimensions", *names, "gain over base", "at least", "at most", "adjusted p", "share of the largest")
    return ChartTable(columns, tuple(rows), (_explain(evidence),))


def _difference_cells(comparison: Comparison) -> list[Cell]:
    return [*describe_difference(comparison)]


def describe_difference(comparison: Comparison) -> tuple[numbers.Number, ...]:
    """Return a difference, the bounds of its interval, and its adjusted p, as cells of a table."""
    bounds = (comparison.difference, comparison.low, comparison.high)
    return (*map(numbers.gain, bounds), numbers.probability(comparison.adjusted_p))


def _explain(evidence: Evidence) -> str:
    queries, groups, often = len(evidence.groups), len(set(evidence.groups)), evidence.holdout_evaluations
    times = "once" if often == 1 else f"{often} times, so its scores may be optimistic"
    return (
        f"{evidence.metric.upper()} on the test split of {queries:,} queries on {groups:,} passage groups, which was "
        f"evaluated {times}. From and to, at least and at most bound the 95 % interval; p is adjusted for all "
        "comparisons made. BM25 has no dimensions. The share is the winner's score divided by its score at the largest "
        "dimension."
    )


def find_comparison(evidence: Evidence, reference: str, dim: int | None) -> Comparison | None:
    """Return the comparison of the winner with a reference at a dimension, None: on the objective; None if absent.

    Args:
        evidence: The evidence.
        reference: Name of the reference.
        dim: The dimension.
    """
    return next((c for c in evidence.comparisons if c.reference == reference and c.dim == dim), None)


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
        spec=_retention_spec(rows, [str(dim) for dim in dims]),
        table=_retention_table(found, dims),
    )


def _retention_spec(rows: Sequence[Mapping[str, Any]], dims: list[str]) -> dict[str, Any]:
    names = [WINNER, BASE]
    colors, shapes = [_LOOKS[name][0] for name in names], [_LOOKS[name][2] for name in names]
    color = {"field": "model", "scale": {"domain": names, "range": colors}, "title": None}
    shape = {"field": "model", "scale": {"domain": names, "range": shapes}, "title": None}
    x = {
        "field": "place",
        "type": "quantitative",
        "title": "dimensions",
        "scale": {"domain": [-0.3, len(dims) - 1 + 0.3], "nice": False},
        "axis": {"values": list(range(len(dims))), "labelExpr": f"{dims}[datum.value]", "grid": False},
    }
    y = {"field": "mean", "type": "quantitative", "title": "share of the largest", "scale": {"zero": False}}
    y["axis"] = {"format": ".0%"}
    tooltip = [
        {"field": "model", "type": "nominal"},
        {"field": "dimension", "type": "quantitative"},
        *({"field": name, "type": "quantitative", "format": ".1%"} for name in ("mean", "low", "high")),
    ]
    layers: list[dict[str, Any]] = [
        {"data": {"values": [{}]}, "mark": {"type": "rule", "opacity": 0.5}, "encoding": {"y": {"datum": 1}}},
        {
            "mark": {"type": "rule", "opacity": 0.6},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": color},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": color, "shape": shape, "tooltip": tooltip},
        },
    ]
    return lite(layers, rows, height=200)


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
