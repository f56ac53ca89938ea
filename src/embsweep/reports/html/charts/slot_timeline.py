"""Chart of the slots: which run trained where and when, in search and confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.parallel_axes import list_ticks
from embsweep.reports.html.charts.slot_lanes import Bar, TimeAxis, build_time_axis, find_gaps, list_bars
from embsweep.reports.html.charts.theme import ACCENT, INK, lite
from embsweep.reports.html.search_history import SearchHistory
from embsweep.reports.text import duration

_LANE_PX, _MOST_PX, _HEAD_PX = 34, 360, 18
_MOST_BARS, _MOST_ROWS = 600, 300
_LABEL_SHARE = 0.035
"""Smallest share of the axis of a bar with a label."""

_UNITS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)


def timeline_chart(history: SearchHistory) -> Chart | None:
    """Return the chart; None if fewer than two runs have started."""
    bars = list_bars(history)
    if len({(bar.phase, bar.trial, bar.seed) for bar in bars}) < 2:
        return None
    axis = build_time_axis(bars)
    if axis.running_s <= 0:
        return None
    lanes = max(history.slots, 1 + max(bar.lane for bar in bars))
    return Chart(
        key="search-slots",
        title=_title(history, bars, axis),
        description=(
            f"{lanes} lanes, one for each trial that runs at the same time, over {duration(axis.running_s)}. Each bar "
            "is one start of a trial, with its number; a trial that paused or was interrupted has several. Outlined "
            "bars are runs of the confirmation. Empty stretches are idle."
        ),
        spec=_build_spec(history, bars, axis, lanes),
        table=_table(bars, axis),
    )


def compute_busy(history: SearchHistory, bars: Sequence[Bar], axis: TimeAxis) -> float:
    """Return the share of the slots' time in which a run was training, without interruptions of the sweep."""
    return sum(bar.attempt.end - bar.attempt.start for bar in bars) / (history.slots * axis.running_s)


def _title(history: SearchHistory, bars: Sequence[Bar], axis: TimeAxis) -> str:
    busy, slots = min(1.0, compute_busy(history, bars, axis)), history.slots
    name = "The slot was" if slots == 1 else f"The {slots} slots were"
    text = f"{name} training {100 * busy:.0f} % of {duration(axis.running_s)}"
    if not axis.interruptions:
        return f"{text}."
    away = sum(gap.length for gap in axis.interruptions)
    times = "once" if len(axis.interruptions) == 1 else f"{len(axis.interruptions)} times"
    return f"{text}; the sweep was interrupted {times}, for {duration(away)} in all."


def _build_spec(history: SearchHistory, bars: Sequence[Bar], axis: TimeAxis, lanes: int) -> dict[str, Any]:
    whole, step = axis.place(axis.end), min(_LANE_PX, _MOST_PX / lanes)
    rows = [_row(history, axis, bar) for bar in bars] if len(bars) <= _MOST_BARS else _merge(history, bars, axis)
    y: dict[str, Any] = {"field": "lane", "type": "quantitative", "title": "lane"}
    y |= {"scale": {"domain": [lanes + 0.5, 0.5 - _HEAD_PX / step], "nice": False, "zero": False}}
    y |= {"axis": {"values": _lane_numbers(lanes), "format": "d", "grid": False, "ticks": False, "domain": False}}
    ticks = _list_ticks(axis)
    x: dict[str, Any] = {"field": "from", "type": "quantitative", "title": "time since the first start"}
    x |= {"scale": {"domain": [0, whole], "nice": False}}
    places, labels = [place for place, _ in ticks], [label for _, label in ticks]
    x |= {"axis": {"values": places, "labelExpr": f"{json.dumps(labels)}[indexof({json.dumps(places)}, datum.value)]"}}
    thickness = {"y": {**y, "field": "top"}, "y2": {"field": "bottom"}}
    layers = [*_layers(axis, x, thickness, step), _phase_layer(bars, axis, x, y, 0.5 - _HEAD_PX / 2 / step)]
    return lite(layers, rows, height=step * lanes + _HEAD_PX)


def _phase_layer(
    bars: Sequence[Bar], axis: TimeAxis, x: Mapping[str, Any], y: Mapping[str, Any], place: float
) -> dict[str, Any]:
    """Return the names of the phases, each above its first start."""
    starts: dict[str, float] = {}
    for bar in bars:
        starts.setdefault(bar.phase, axis.place(bar.attempt.start))
    return {
        "data": {"values": [{"from": start, "lane": place, "phase": phase} for phase, start in starts.items()]},
        "mark": {"type": "text", "align": "left", "baseline": "middle"},
        "encoding": {"x": x, "y": y, "text": {"field": "phase"}},
    }


def _row(history: SearchHistory, axis: TimeAxis, bar: Bar) -> dict[str, Any]:
    start, end = axis.place(bar.attempt.start), axis.place(bar.attempt.end)
    leader = history.leader
    return {
        **_extent(start, end, bar.lane),
        "run": f"trial {bar.trial}" + ("" if bar.seed is None else f", confirmed with seed {bar.seed}"),
        "start": f"{duration(bar.attempt.start - axis.start)} ({_ordinal_start(bar)})",
        "time": duration(bar.attempt.end - bar.attempt.start) + (", running" if bar.attempt.is_open else ""),
        "state": bar.state,
        "label": str(bar.trial) if end - start >= _LABEL_SHARE * axis.place(axis.end) else "",
        "phase": bar.phase,
        "failed": bar.state == "failed",
        "leads": leader is not None and bar.trial == leader.number,
    }


def _extent(start: float, end: float, lane: int) -> dict[str, float]:
    return {"from": start, "to": end, "lane": lane + 1, "top": lane + 0.65, "bottom": lane + 1.35}


def _ordinal_start(bar: Bar) -> str:
    return f"start {bar.number}"


def _merge(history: SearchHistory, bars: Sequence[Bar], axis: TimeAxis) -> list[dict[str, Any]]:
    """Return bars that stand for the attempts of a lane between which nothing could be seen."""
    least = axis.place(axis.end) / _MOST_BARS
    rows: list[dict[str, Any]] = []
    for bar in sorted(bars, key=lambda bar: (bar.lane, bar.attempt.start)):
        row = {**_row(history, axis, bar), "count": 1}
        if rows and _is_joined(rows[-1], row, least):
            count = rows[-1]["count"] + 1
            rows[-1] |= {"to": row["to"], "count": count, "run": f"{count} runs", "label": ""}
            rows[-1] |= {"time": "", "state": ""}
        else:
            rows.append(row)
    return rows


def _is_joined(before: Mapping[str, Any], after: Mapping[str, Any], least: float) -> bool:
    """Return whether two rows of one lane look like one: those of the leader and failed ones stay apart."""
    is_plain = not any(row["leads"] or row["failed"] for row in (before, after))
    is_same = before["lane"] == after["lane"] and before["phase"] == after["phase"]
    return is_plain and is_same and after["from"] - before["to"] < least and after["to"] - before["from"] < 20 * least


def _lane_numbers(lanes: int) -> list[int]:
    return list(range(1, lanes + 1, 1 if lanes <= 16 else 8))


def _list_ticks(axis: TimeAxis) -> list[tuple[float, str]]:
    """Return places on the axis with the time since the first start; none within an interruption."""
    unit = next((unit for unit in _UNITS_S if axis.running_s / unit <= 8), None)
    if unit is None:
        return [(round(seconds, 3), duration(seconds)) for seconds in list_ticks(0, axis.running_s)]
    whole = axis.end - axis.start
    cut = [(gap.start - axis.start, gap.end - axis.start) for gap in axis.interruptions]
    times = [gap_end for _, gap_end in cut]
    bounds = [0.0, *(time for ends in cut for time in ends), whole]
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        first = -(-start // unit) * unit
        times += [first + unit * number for number in range(int((end - first) // unit) + 1) if end >= first]
    spaced: list[tuple[float, str]] = []
    for time in sorted(set(times)):
        place = axis.place(axis.start + time)
        if not spaced or place - spaced[-1][0] > 0.06 * axis.place(axis.end):
            spaced.append((round(place, 3), duration(time)))
    return spaced


def _layers(axis: TimeAxis, x: Mapping[str, Any], y: Mapping[str, Any], step: float) -> list[dict[str, Any]]:
    tooltip = [{"field": name, "type": "nominal"} for name in ("run", "state", "start", "time")]
    bar = {"x": x, "x2": {"field": "to"}, **y, "tooltip": tooltip}
    middle = {"x": {**x, "field": "middle"}, "y": {**y["y"], "field": "lane"}}
    search, confirmation = "datum.phase == 'search'", "datum.phase == 'confirmation'"
    outline = {"stroke": INK, "strokeWidth": 1.5, "fillOpacity": 0.08, "strokeOpacity": 0.9}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [_interruption(axis, index) for index in range(len(axis.interruptions))]},
            "mark": {"type": "rect", "opacity": 0.12, "color": INK},
            "encoding": {"x": x, "x2": {"field": "to"}, "tooltip": [{"field": "interrupted", "type": "nominal"}]},
        },
        _bars(f"{search} && !datum.leads && !datum.failed", bar, color=INK, fillOpacity=0.4, stroke=None),
        _bars(f"{search} && datum.failed", bar, color=INK, fillOpacity=0.04, stroke=INK, strokeDash=[2, 2]),
        _bars(f"{search} && datum.leads", bar, color=ACCENT, fillOpacity=1, stroke=None),
        _bars(f"{confirmation} && !datum.leads", bar, color=INK, **outline),
        _bars(
            f"{confirmation} && datum.leads", bar, color=ACCENT, **(outline | {"stroke": ACCENT, "fillOpacity": 0.2})
        ),
    ]
    if step >= 14:
        layers.append(
            {
                "transform": [
                    {"filter": "datum.label != ''"},
                    {"calculate": "(datum.from + datum.to) / 2", "as": "middle"},
                ],
                "mark": {"type": "text", "fontSize": 11, "fontWeight": "bold", "clip": True},
                "encoding": {**middle, "text": {"field": "label"}},
            }
        )
    return layers


def _bars(condition: str, encoding: Mapping[str, Any], **look: Any) -> dict[str, Any]:
    return {"transform": [{"filter": condition}], "mark": {"type": "rect", **look}, "encoding": encoding}


def _interruption(axis: TimeAxis, index: int) -> dict[str, Any]:
    gap = axis.interruptions[index]
    return {
        "from": axis.place(gap.start),
        "to": axis.place(gap.end),
        "interrupted": f"nothing ran for {duration(gap.length)}",
    }


def _table(bars: Sequence[Bar], axis: TimeAxis) -> ChartTable:
    rows: list[tuple[Cell, ...]] = [
        (
            bar.trial,
            bar.phase if bar.seed is None else f"confirmation, seed {bar.seed}",
            bar.number,
            bar.lane + 1,
            bar.attempt.device or None,
            duration(bar.attempt.start - axis.start),
            duration(bar.attempt.end - bar.attempt.start) + (" so far" if bar.attempt.is_open else ""),
        )
        for bar in bars[:_MOST_ROWS]
    ]
    notes = [
        "The ledger does not record slots: a lane is the first one that was free at the start.",
        "A run that paused or whose process died is taken to have trained until its last evaluation.",
    ]
    if len(bars) > _MOST_ROWS:
        notes.append(
            f"The table has the first {_MOST_ROWS} of {len(bars):,} starts; {len(bars) - _MOST_ROWS:,} are left out."
        )
    if len(bars) > _MOST_BARS:
        notes.append("Runs that follow closely on each other are drawn as one bar.")
    shown = [gap for gap in find_gaps(bars) if gap not in axis.interruptions]
    if longest := max(shown, key=lambda gap: gap.length, default=None):
        after = duration(longest.start - axis.start)
        notes.append(f"The longest time in which no slot was training began after {after}: {duration(longest.length)}.")
    notes += [f"Nothing ran for {duration(gap.length)}: the time axis leaves it out." for gap in axis.interruptions]
    columns = ("trial", "phase", "start", "lane", "device", "started after", "trained for")
    return ChartTable(columns, tuple(rows), tuple(notes))
