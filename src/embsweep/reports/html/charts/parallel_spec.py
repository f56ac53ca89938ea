"""Vega specification of parallel coordinates: one path for each trial, and a range to drag on each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html.charts.parallel_axes import Axis
from embsweep.reports.html.charts.theme import ACCENT, CONFIG, FONT, INK, WIDTH

_HEIGHT, _LEAST_WIDTH, _LABEL_PX = 300, 560, 110
_SMALLEST_RANGE = 0.015
"""A shorter range is none: a click on an axis removes its range."""

_TITLES_SIDE_BY_SIDE = 5

Mark = dict[str, Any]


def build_parallel_spec(
    axes: Sequence[Axis], lines: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the specification.

    Args:
        axes: The axes from left to right, at least two.
        lines: One for each trial in the order in which they are drawn: its places on the axes (`y`), its look (`color`,
            `width`, `opacity`, `dash`) and its tooltip (`tip`).
        labels: Texts at the right end: `text`, their place `y`, the place `at` of what they name, `strong`.
    """
    count = len(axes)
    return {
        "$schema": "https://vega.github.io/schema/vega/v6.json",
        "height": _HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 4,
        "background": None,
        "config": {"text": {"font": FONT, "fontSize": 12, "fill": INK}, "background": CONFIG["background"]},
        "signals": [
            {"name": "width", "value": WIDTH, "bind_min": max(_LEAST_WIDTH, 95 * count + _LABEL_PX)},
            {"name": "over", "value": False, "on": [{"events": "view:pointerover", "update": "true"}]},
            *(_range_signal(axis) for axis in range(count)),
            {"name": "ranges", "update": " + ".join(f"({_is_set(axis)} ? 1 : 0)" for axis in range(count))},
        ],
        "data": [
            {
                "name": "lines",
                "values": list(lines),
                "transform": [{"type": "formula", "as": "kept", "expr": _within_all(count)}],
            },
            {"name": "kept", "source": "lines", "transform": [{"type": "filter", "expr": "datum.kept"}]},
            {"name": "axes", "values": _axis_rows(axes)},
            {"name": "ticks", "values": _tick_rows(axes)},
            {"name": "labels", "values": list(labels)},
        ],
        "scales": [
            {"name": "x", "type": "linear", "domain": [0, count - 1], "range": [0, {"signal": f"width - {_LABEL_PX}"}]},
            {"name": "y", "type": "linear", "domain": [0, 1], "range": "height"},
        ],
        "marks": [
            *_axis_marks(count),
            _line_mark(count),
            *_label_marks(),
            *(_range_mark(axis) for axis in range(count)),
            *(_hit_mark(axis) for axis in range(count)),
            _hint_mark(),
        ],
    }


def _range_signal(axis: int) -> dict[str, Any]:
    """Return the signal of the range on an axis: where the drag began, and where it is."""
    at = "clamp(invert('y', y()), 0, 1)"
    drag = f"[@hit{axis}:pointerdown, window:pointerup] > window:pointermove!"
    return {
        "name": f"range{axis}",
        "value": [0, 0],
        "on": [
            {"events": f"@hit{axis}:pointerdown", "update": f"[{at}, {at}]"},
            {"events": drag, "update": f"[range{axis}[0], {at}]"},
        ],
    }


def _is_set(axis: int) -> str:
    return f"abs(range{axis}[0] - range{axis}[1]) > {_SMALLEST_RANGE}"


def _within_all(count: int) -> str:
    """Return the expression that a line is within the ranges of all axes that have one."""
    within = [
        f"(!({_is_set(i)}) || (datum.y[{i}] >= min(range{i}[0], range{i}[1])"
        f" && datum.y[{i}] <= max(range{i}[0], range{i}[1])))"
        for i in range(count)
    ]
    return " && ".join(within)


def _axis_rows(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    is_crowded = len(axes) > _TITLES_SIDE_BY_SIDE
    return [
        {"axis": i, "title": axis.title, "key": axis.key, "up": 28 if is_crowded and i % 2 == 0 else 12}
        for i, axis in enumerate(axes)
    ]


def _tick_rows(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    return [{"axis": i, "y": place, "text": label} for i, axis in enumerate(axes) for place, label in axis.ticks]


_X_OF_AXIS, _Y = {"scale": "x", "field": "axis"}, {"scale": "y", "field": "y"}


def _axis_marks(count: int) -> list[Mark]:
    room = f"(width - {_LABEL_PX}) / {max(1, count - 1)}"
    titles = 2 if count > _TITLES_SIDE_BY_SIDE else 1
    return [
        {
            "type": "rule",
            "interactive": False,
            "from": {"data": "axes"},
            "encode": {
                "update": {
                    "x": _X_OF_AXIS,
                    "y": {"value": 0},
                    "y2": {"signal": "height"},
                    "stroke": {"value": INK},
                    "strokeOpacity": {"value": 0.5},
                }
            },
        },
        {
            "type": "text",
            "from": {"data": "axes"},
            "encode": {
                "update": {
                    "x": _X_OF_AXIS,
                    "y": {"signal": "-datum.up"},
                    "text": {"field": "title"},
                    "align": {"signal": f"datum.axis == 0 ? 'left' : datum.axis == {count - 1} ? 'right' : 'center'"},
                    "dx": {"signal": "datum.axis == 0 ? -4 : 0"},
                    "limit": {"signal": f"{room} * {titles} * 2 / 3 - 8"},
                    "tooltip": {"field": "key"},
                    "fontWeight": {"value": "bold"},
                }
            },
        },
        {
            "type": "text",
            "interactive": False,
            "from": {"data": "ticks"},
            "encode": {
                "update": {
                    "x": _X_OF_AXIS,
                    "y": _Y,
                    "dx": {"value": 5},
                    "baseline": {"value": "middle"},
                    "text": {"field": "text"},
                    "limit": {"signal": f"max(40, {room} - 12)"},
                    "fontSize": {"value": 11},
                    "fillOpacity": {"value": 0.85},
                }
            },
        },
    ]


def _line_mark(count: int) -> Mark:
    parts = [f"scale('x', {i}) + ',' + scale('y', datum.y[{i}])" for i in range(count)]
    look = {
        "stroke": {"field": "color"},
        "strokeWidth": {"field": "width"},
        "strokeDash": {"field": "dash"},
        "strokeOpacity": {"signal": "datum.kept ? datum.opacity : 0.04"},
    }
    return {
        "type": "path",
        "name": "trials",
        "from": {"data": "lines"},
        "encode": {
            "enter": {"tooltip": {"field": "tip"}, "strokeJoin": {"value": "round"}},
            "update": {"path": {"signal": "'M' + " + " + 'L' + ".join(parts)}, **look},
            "hover": {"strokeWidth": {"value": 4}, "strokeOpacity": {"value": 1}},
        },
    }


def _label_marks() -> list[Mark]:
    end = f"width - {_LABEL_PX}"
    return [
        {
            "type": "rule",
            "interactive": False,
            "from": {"data": "labels"},
            "encode": {
                "update": {
                    "x": {"signal": end, "offset": 2},
                    "x2": {"signal": end, "offset": 38},
                    "y": {"scale": "y", "field": "at"},
                    "y2": _Y,
                    "stroke": {"value": INK},
                    "strokeOpacity": {"value": 0.35},
                }
            },
        },
        {
            "type": "text",
            "interactive": False,
            "from": {"data": "labels"},
            "encode": {
                "update": {
                    "x": {"signal": end, "offset": 42},
                    "y": _Y,
                    "baseline": {"value": "middle"},
                    "text": {"field": "text"},
                    "fill": {"signal": f"datum.strong ? '{ACCENT}' : '{INK}'"},
                    "fontWeight": {"signal": "datum.strong ? 'bold' : 'normal'"},
                }
            },
        },
    ]


def _range_mark(axis: int) -> Mark:
    ends = f"range{axis}[0], range{axis}[1]"
    return {
        "type": "rect",
        "interactive": False,
        "encode": {
            "update": {
                "x": {"scale": "x", "value": axis, "offset": -7},
                "width": {"value": 14},
                "y": {"signal": f"scale('y', max({ends}))"},
                "y2": {"signal": f"scale('y', min({ends}))"},
                "fill": {"value": INK},
                "fillOpacity": {"value": 0.18},
                "stroke": {"value": INK},
                "opacity": {"signal": f"{_is_set(axis)} ? 1 : 0"},
            }
        },
    }


def _hit_mark(axis: int) -> Mark:
    """Return the invisible area on which a range is dragged."""
    return {
        "type": "rect",
        "name": f"hit{axis}",
        "encode": {
            "update": {
                "x": {"scale": "x", "value": axis, "offset": -12},
                "width": {"value": 24},
                "y": {"value": -6},
                "y2": {"signal": "height + 6"},
                "fill": {"value": "transparent"},
                "cursor": {"value": "ns-resize"},
            }
        },
    }


def _hint_mark() -> Mark:
    count = "length(data('kept')) + ' of ' + length(data('lines')) + ' lines are within '"
    help_text = "'Drag along an axis to keep only the lines within that range; click the axis to undo.'"
    text = f"ranges ? {count} + (ranges > 1 ? 'all ranges' : 'the range') : over ? {help_text} : ''"
    return {
        "type": "text",
        "name": "hint",
        "interactive": False,
        "encode": {
            "update": {
                "x": {"value": 0},
                "y": {"signal": "height + 24"},
                "text": {"signal": text},
                "fontSize": {"value": 11},
            }
        },
    }
