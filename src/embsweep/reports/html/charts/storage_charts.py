"""Charts of quality and search time against the bytes of a stored vector, at every dimension and precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html.charts.chart import Chart, ChartTable
from embsweep.reports.html.charts.theme import ACCENT, INK, LABEL_PX, lite, spread
from embsweep.reports.html.numbers import Sentence, percent, plain, whole
from embsweep.selection.evidence import Evidence, QuantizationRecord
from embsweep.selection.quantization import compute_retention, find_smallest, pareto_front

KEPT = 0.95
"""Share of the score that the smallest stored vector must keep to be named."""

_PRECISIONS = ("float32", "float16", "int8", "binary")
_SHAPES = ("circle", "square", "triangle-up", "diamond")
_HEIGHT = 320


def storage_charts(evidence: Evidence) -> tuple[Chart, ...]:
    """Return the charts of quality and of search time against stored bytes; nothing for evidence without figures."""
    if not evidence.quantization:
        return ()
    front = set(map(_identify, pareto_front(evidence.quantization)))
    rows = [_to_row(record, is_best=_identify(record) in front) for record in evidence.quantization]
    return (_quality_chart(evidence, rows), _time_chart(evidence, rows))


def describe_smallest(evidence: Evidence) -> Sentence:
    """Return in one sentence the fewest bytes of a stored vector that keep 95 % of the score; nothing if it is 0."""
    if not evidence.quantization or None in (kept := compute_retention(evidence.quantization)):
        return ()
    found = find_smallest(evidence.quantization, least_retention=KEPT)
    share = kept[evidence.quantization.index(found)]
    full = max(evidence.quantization, key=lambda record: record.bytes)
    return (
        *(whole(found.bytes), f" bytes a vector ({name_storage(found)}) keep ", percent(share or 0.0)),
        *(f" of the {evidence.metric.upper()} of ", whole(full.bytes), f" bytes ({name_storage(full)})."),
    )


def _identify(record: QuantizationRecord) -> tuple[int, str, bool]:
    return record.dim, record.precision, record.rescored


def name_storage(record: QuantizationRecord) -> str:
    """Return how vectors are stored and searched: `256 × int8, rescored`."""
    return f"{record.dim} × {record.precision}" + (", rescored" if record.rescored else "")


def _to_row(record: QuantizationRecord, *, is_best: bool) -> dict[str, Any]:
    return {
        "name": name_storage(record),
        "label": f"{record.dim} r" if record.rescored else str(record.dim),
        "precision": record.precision,
        "rescored": "yes" if record.rescored else "no",
        "bytes": record.bytes,
        **record.score.model_dump(),
        "ms": record.search_ms,
        "best": is_best,
    }


def _quality_chart(evidence: Evidence, rows: Sequence[Mapping[str, Any]]) -> Chart:
    metric = evidence.metric.upper()
    best = sorted((row for row in rows if row["best"]), key=lambda row: row["bytes"])
    return Chart(
        key="storage",
        title=plain(describe_smallest(evidence)) or f"{metric} on test against bytes of a stored vector.",
        description=f"{metric} on test against bytes of a stored vector; filled points are best for their bytes.",
        spec=_quality_spec(evidence, rows, best),
        table=_table(evidence, rows),
    )


def _quality_spec(
    evidence: Evidence, rows: Sequence[Mapping[str, Any]], best: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    x = _bytes_axis(rows)
    y = {
        "field": "mean",
        "type": "quantitative",
        "title": f"{evidence.metric.upper()} on test",
        "scale": {"zero": False},
    }
    low, high = min(row["mean"] for row in rows), max(row["mean"] for row in rows)
    ends = spread([row["mean"] for row in best], LABEL_PX * (high - low or 1) / _HEIGHT / 4)
    labels = [{"bytes": row["bytes"], "at": at, "label": row["label"]} for row, at in zip(best, ends, strict=True)]
    tooltip = [
        {"field": "name", "type": "nominal"},
        {"field": "bytes", "type": "quantitative", "format": ","},
        *({"field": name, "type": "quantitative", "format": ".4f"} for name in ("mean", "low", "high")),
        {"field": "ms", "type": "quantitative", "format": ".3g", "title": "search, ms"},
    ]
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": list(best)},
            "mark": {"type": "line", "color": ACCENT, "strokeDash": [4, 3]},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": {"values": list(best)},
            "mark": {"type": "rule", "opacity": 0.5},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "size": 80, "opacity": 1, "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y, "tooltip": tooltip, **_looks()},
        },
        {
            "data": {"values": labels},
            "mark": {"type": "text", "align": "right", "baseline": "bottom", "dx": -5, "dy": -5},
            "encoding": {
                "x": {"field": "bytes", "type": "quantitative"},
                "y": {"field": "at", "type": "quantitative"},
                "text": {"field": "label"},
            },
        },
    ]
    return lite(layers, rows, height=_HEIGHT)


def _bytes_axis(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sizes = [row["bytes"] for row in rows]
    return {
        "field": "bytes",
        "type": "quantitative",
        "title": "bytes of a stored vector",
        "scale": {"type": "log", "base": 2, "domain": [min(sizes) / 1.5, max(sizes) * 1.2], "nice": False},
        "axis": {"format": ",", "grid": False},
    }


def _looks() -> dict[str, Any]:
    """Return the encodings of a point: shape by precision, filled if it is best for its bytes."""
    ink = {"condition": {"test": "datum.best", "value": ACCENT}, "value": INK}
    return {
        "shape": {
            "field": "precision",
            "title": None,
            "scale": {"domain": list(_PRECISIONS), "range": list(_SHAPES)},
        },
        "stroke": ink,
        "fill": {"condition": {"test": "datum.best", "value": ACCENT}, "value": "transparent"},
    }


def _time_chart(evidence: Evidence, rows: Sequence[Mapping[str, Any]]) -> Chart:
    slow, fast = max(rows, key=lambda row: row["ms"]), min(rows, key=lambda row: row["ms"])
    passages = evidence.data.sizes.get("passages")
    corpus = f" over {passages:,} passages" if passages else ""
    y = {"field": "ms", "type": "quantitative", "title": "one exact search, ms", "scale": {"type": "log"}}
    y["axis"] = {"format": "~g", "values": [step * 10.0**power for power in range(-4, 6) for step in (1, 2, 5)]}
    tooltip = [
        {"field": "name", "type": "nominal"},
        {"field": "ms", "type": "quantitative", "format": ".3g", "title": "search, ms"},
    ]
    layer = {
        "mark": {"type": "point", "size": 80, "opacity": 1, "strokeWidth": 1.5},
        "encoding": {"x": _bytes_axis(rows), "y": y, "tooltip": tooltip, **_looks()},
    }
    return Chart(
        key="search-time",
        title=(
            f"One exact search{corpus} takes {fast['ms']:.2g} ms ({fast['name']}) to {slow['ms']:.2g} ms "
            f"({slow['name']}) on one core."
        ),
        description="Time of one exact search in milliseconds against bytes of a stored vector.",
        spec=lite([layer], rows, height=220),
        table=ChartTable(
            ("dimensions × precision", "bytes", "search, ms"),
            tuple((row["name"], row["bytes"], row["ms"]) for row in rows),
        ),
    )


def _table(evidence: Evidence, rows: Sequence[Mapping[str, Any]]) -> ChartTable:
    full = max(rows, key=lambda row: row["bytes"])["mean"]
    metric = evidence.metric.upper()
    columns = (
        *("dimensions × precision", "bytes", metric, "at least", "at most", "share of the largest"),
        *("search, ms", "best for its bytes"),
    )
    cells = tuple(
        (
            *(row["name"], row["bytes"], row["mean"], row["low"], row["high"]),
            *(percent(row["mean"] / full) if full else None, row["ms"], "yes" if row["best"] else ""),
        )
        for row in rows
    )
    note = (
        "Best for its bytes (filled, on the dashed line, with its dimensions and r for rescored): nothing smaller "
        "scores as high. Bytes are those of the vector alone, without index and ids. int8 ranges come from training "
        "passages. Rescored: candidates of the first search are ranked again with the float32 query. At least and at "
        "most bound the 95 % interval."
    )
    return ChartTable(columns, cells, (note,))
