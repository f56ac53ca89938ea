"""How the charts look: one accent colour, all else in the colour of the text, so that they suit light and dark pages.

Colour is never the only difference: shapes, dashes and labels say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ACCENT = "#2f7cc9"
"""Blue with a contrast of more than 4 to both backgrounds of the page."""

SECOND = "#c26a1d"
"""Orange with a contrast of more than 3.5 to both."""

INK = "currentColor"
WIDTH, HEIGHT = 720, 300
LABEL_PX = 19
"""Height of a line of text in a chart."""

FONT = "system-ui, sans-serif"

_LINES: Mapping[str, Any] = {"domainColor": INK, "tickColor": INK, "domainOpacity": 0.5, "tickOpacity": 0.5}
_AXIS: Mapping[str, Any] = {
    **_LINES,
    "labelColor": INK,
    "titleColor": INK,
    "gridColor": INK,
    "gridOpacity": 0.12,
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
_CHAR_PX = 7.5
"""Width of a character of a label in a wide font."""

CONFIG: Mapping[str, Any] = {
    "font": FONT,
    "background": None,
    "view": {"stroke": None},
    "axis": _AXIS,
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolStrokeColor": INK,
        "orient": "top",
    },
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
}


def name_axis(names: Sequence[str], *, limit: int = 180, **more: Any) -> dict[str, Any]:
    """Return an axis with room for its longest name: the picture is drawn with another font than the page shows.

    Args:
        names: The names along the axis.
        limit: Longest label, in pixels.
        more: Further properties.
    """
    longest = max(map(len, names), default=0)
    return {"labelLimit": limit, "minExtent": min(limit + 10, _CHAR_PX * longest), **more}


def lite(layers: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a Vega-Lite specification of layers over the same rows; the page sets its width.

    Args:
        layers: The layers.
        rows: The data.
        more: Further parts, such as `height`.
    """
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": WIDTH,
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 4, "top": 4, "right": 12, "bottom": 4},
        "data": {"values": list(rows)},
        "layer": list(layers),
        "config": CONFIG,
        **more,
    }


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values apart until neighbours differ by `gap`, so that labels at these places do not overlap.

    Args:
        values: Places of the labels.
        gap: Smallest distance.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    placed = [values[index] for index in order]
    for _ in range(50):
        moved = False
        for lower in range(len(placed) - 1):
            lack = gap - (placed[lower + 1] - placed[lower])
            if lack > 1e-12:
                placed[lower] -= lack / 2
                placed[lower + 1] += lack / 2
                moved = True
        if not moved:
            break
    found = [0.0] * len(values)
    for index, place in zip(order, placed, strict=True):
        found[index] = place
    return found
