"""Lines of scores over dimensions: the axis and the layers that several charts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embsweep.reports.html.charts.theme import HEIGHT, LABEL_PX, lite, spread

_TOOLTIP = ("mean", "low", "high")


@dataclass(frozen=True)
class Look:
    """Colour, dashes and shape of one line."""

    color: str
    dash: tuple[int, int]
    shape: str


def dimension_axis(dims: Sequence[int], *, room: float = 0.3) -> dict[str, Any]:
    """Return the x encoding: the field `place` is the position of a dimension in `dims`, a little beside it for some.

    Args:
        dims: The dimensions, ascending.
        room: Room at the right end, in places.
    """
    return {
        "field": "place",
        "type": "quantitative",
        "title": "dimensions",
        "scale": {"domain": [-0.3, len(dims) - 1 + room], "nice": False},
        "axis": {
            "values": list(range(len(dims))),
            "labelExpr": f"{[str(dim) for dim in dims]}[datum.value]",
            "grid": False,
        },
    }


def interval_layers(x: Mapping[str, Any], y: Mapping[str, Any], **encoding: Any) -> list[dict[str, Any]]:
    """Return the layers of intervals (`low` to `high`) and of points (`mean`).

    Args:
        x: Encoding of the place.
        y: Encoding of the mean.
        encoding: `color`, `shape` and `tooltip`.
    """
    ends = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": encoding["color"]}
    return [
        {"mark": {"type": "rule", "opacity": 0.6}, "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": x, "y": y, **encoding},
        },
    ]


def interval_tooltip(name: str, number_format: str) -> list[dict[str, Any]]:
    """Return the tooltip of a point: the field `name` of its line, its dimension, mean and interval."""
    numbers = [{"field": field, "type": "quantitative", "format": number_format} for field in _TOOLTIP]
    return [{"field": name, "type": "nominal"}, {"field": "dimension", "type": "quantitative"}, *numbers]


def draw_lines(
    rows: Sequence[Mapping[str, Any]], looks: Mapping[str, Look], dims: Sequence[int], *, title: str
) -> dict[str, Any]:
    """Return a specification of one line for each look that has rows, with its name at the right end.

    Args:
        rows: Points with `line` (a key of `looks`), `place`, `dimension`, `mean`, `low` and `high`; the last one of a
            line is that of its largest dimension.
        looks: Look of each line.
        dims: The dimensions, ascending.
        title: Title of the y axis.
    """

    def scale(values: Sequence[Any]) -> dict[str, Any]:
        return {"field": "line", "scale": {"domain": list(looks), "range": list(values)}, "legend": None}

    x = dimension_axis(dims, room=0.4)
    y = {"field": "mean", "type": "quantitative", "title": title, "scale": {"zero": False}}
    color, dash = scale([look.color for look in looks.values()]), scale([look.dash for look in looks.values()])
    shape, tooltip = scale([look.shape for look in looks.values()]), interval_tooltip("line", ".4f")
    intervals, points = interval_layers(x, y, color=color, shape=shape, tooltip=tooltip)
    lines = {"mark": {"type": "line"}, "encoding": {"x": x, "y": y, "color": color, "strokeDash": dash}}
    layers = [intervals, lines, points, _name_lines(rows, len(dims) - 1 + 0.25)]
    return lite(layers, rows, padding={"left": 4, "top": 4, "right": 60, "bottom": 4})


def _name_lines(rows: Sequence[Mapping[str, Any]], place: float) -> dict[str, Any]:
    ends = {row["line"]: row["mean"] for row in rows}
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    at = spread(list(ends.values()), LABEL_PX * (high - low or 1) / HEIGHT)
    return {
        "data": {"values": [{"line": line, "place": place, "at": y} for line, y in zip(ends, at, strict=True)]},
        "mark": {"type": "text", "align": "left", "baseline": "middle"},
        "encoding": {
            "x": {"field": "place", "type": "quantitative"},
            "y": {"field": "at", "type": "quantitative"},
            "text": {"field": "line"},
        },
    }
