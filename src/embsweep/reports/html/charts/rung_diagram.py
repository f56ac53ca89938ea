"""Chart of the rungs: the rank of each trial where trials were compared, who went on, paused and stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.parallel_coordinates import choose_lines, describe_end, describe_trial, label_trial
from embsweep.reports.html.charts.theme import ACCENT, HEIGHT, INK, lite, spread
from embsweep.reports.html.search_history import HistoryTrial, SearchHistory

_SHAPES = {"complete": "circle", "stopped": "stroke", "paused": "square", "running": "triangle-right"}
_KINDS = {"complete": "finished", "stopped": "stopped", "paused": "paused", "running": "running"}
_MANY_RANKS, _MOST_LABELS, _MOST_LOG_LABELS, _LABEL_PX = 40, 12, 3, 15
"""More ranks are on a logarithmic axis, where the labels of the first ones have room."""

_LEAST_CORRELATED = 4

Ranks = Mapping[int, Mapping[int, int]]
"""Number of a trial → index of a rung → rank among the trials that reached it, from 1."""


def rank_at_rungs(history: SearchHistory) -> Ranks:
    """Return the rank of each trial at each rung that it has reached; of equals, the earlier trial is ahead."""
    ranks: dict[int, dict[int, int]] = {trial.number: {} for trial in history.trials if trial.at_rungs}
    for rung in range(len(history.rungs)):
        reached = [trial for trial in history.trials if rung in trial.at_rungs]
        reached.sort(key=lambda trial: (-trial.at_rungs[rung], trial.number))
        for rank, trial in enumerate(reached, start=1):
            ranks[trial.number][rung] = rank
    return ranks


def correlate_ends(history: SearchHistory, ranks: Ranks) -> float | None:
    """Return the rank correlation (Spearman's) of first rung and end, None if fewer than four trials have finished."""
    last = len(history.rungs) - 1
    both = [(found[0], found[last]) for found in ranks.values() if 0 in found and last in found]
    if len(both) < _LEAST_CORRELATED:
        return None
    from scipy.stats import spearmanr

    first, end = map(list, zip(*both, strict=True))
    return float(spearmanr(first, end).statistic)


def rung_chart(history: SearchHistory) -> Chart | None:
    """Return the chart; None if trials do not pause, or none of them has."""
    ranks, last = rank_at_rungs(history), len(history.rungs) - 1
    if last < 1 or all(last in found for found in ranks.values()):
        return None
    drawn = [trial for trial in choose_lines(history.trials) if trial.number in ranks]
    return Chart(
        key="search-rungs",
        title=_title(history, ranks),
        description=" ".join(
            [
                "Each column is a rung, a share of the schedule at which trials are compared; the best of each go on. "
                "A line joins a trial's ranks, the best at the top, and ends with a mark where the trial has ended.",
                *_describe_correlation(history, ranks),
            ]
        ),
        spec=_build_spec(history, drawn, ranks),
        table=_table(history, drawn, ranks),
    )


def _title(history: SearchHistory, ranks: Ranks) -> str:
    last, leader = len(history.rungs) - 1, history.leader
    finished = sum(last in found for found in ranks.values())
    rest = f"{finished} of {len(history.trials)} trials finished their schedules"
    if leader is None or 0 not in ranks.get(leader.number, {}):
        return f"{rest}."
    first, count = ranks[leader.number][0], sum(0 in found for found in ranks.values())
    name = f"The winner, trial {leader.number}," if leader.is_winner else f"Trial {leader.number}, the best so far,"
    return f"{name} was {_ordinal(first)} of {count} at the first rung ({_percent(history.rungs[0])}); {rest}."


def _describe_correlation(history: SearchHistory, ranks: Ranks) -> list[str]:
    found = correlate_ends(history, ranks)
    finished = sum(len(history.rungs) - 1 in known for known in ranks.values())
    text = f"Among the {finished} trials that finished, the rank correlation of first rung and end is "
    return [] if found is None else [f"{text}{found:.2f}."]


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}".replace("%", " %")


def _build_spec(history: SearchHistory, drawn: Sequence[HistoryTrial], ranks: Ranks) -> dict[str, Any]:
    last, most = len(history.rungs) - 1, max(max(found.values()) for found in ranks.values())
    rows = [
        {
            "trial": describe_trial(history, trial).removeprefix("trial "),
            "state": describe_end(trial),
            "rung": rung,
            "rank": rank,
            "kind": _KINDS[trial.state] if rung == max(ranks[trial.number]) else "",
            "leads": trial is history.leader,
        }
        for trial in drawn
        for rung, rank in ranks[trial.number].items()
    ]
    heads = [_describe_rung(history, ranks, rung) for rung in range(last + 1)]
    axis = {
        "orient": "top",
        "values": list(range(last + 1)),
        "labelExpr": f"{json.dumps(heads)}[datum.value]",
        "grid": False,
    }
    x = {
        "field": "rung",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [-0.15, last + 0.05], "nice": False},
        "axis": {**axis, "labelLineHeight": 14, "labelPadding": 40, "domain": False, "ticks": False},
    }
    y = {"field": "rank", "type": "quantitative", "title": "rank", "scale": _rank_scale(most), "axis": _rank_axis(most)}
    faint = min(0.35, 0.35 * (60 / len(drawn)) ** 0.5)
    return lite([*_layers(rows, faint, x, y), _label_layer(history, ranks, most)], rows)


def _describe_rung(history: SearchHistory, ranks: Ranks, rung: int) -> list[str]:
    """Return the lines above a rung: its share of the schedule, and how many trials reached it and went on."""
    reached = [max(found) for found in ranks.values() if rung in found]
    if rung == len(history.rungs) - 1:
        return ["end", f"{len(reached)} finished"]
    beyond = sum(top > rung for top in reached)
    return [_percent(history.rungs[rung]), f"{len(reached)} reached", f"{beyond} went on"]


def _rank_scale(most: int) -> dict[str, Any]:
    if most > _MANY_RANKS:
        return {"type": "log", "domain": [0.9, most * 1.1], "nice": False, "reverse": True}
    return {"domain": [0.5, most + 0.5], "nice": False, "zero": False, "reverse": True}


def _rank_axis(most: int) -> dict[str, Any]:
    rounds = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    values = [value for value in rounds if value <= most] if most > _MANY_RANKS else [1, *range(5, most + 1, 5)]
    return {"values": values, "format": "d"}


def _layers(
    rows: Sequence[Mapping[str, Any]], faint: float, x: Mapping[str, Any], y: Mapping[str, Any]
) -> list[dict[str, Any]]:
    tooltip = [{"field": name, "type": "nominal"} for name in ("trial", "state", "rank")]
    last = max(row["rung"] for row in rows)
    kinds = [kind for kind in _KINDS if any(row["kind"] == _KINDS[kind] for row in rows)]
    shape = {
        "field": "kind",
        "type": "nominal",
        "title": None,
        "legend": {"orient": "bottom"},
        "scale": {"domain": [_KINDS[kind] for kind in kinds], "range": [_SHAPES[kind] for kind in kinds]},
    }
    line = {"x": x, "y": y, "detail": {"field": "trial"}}
    return [
        {"mark": {"type": "line", "color": INK, "strokeWidth": 1, "opacity": faint}, "encoding": line},
        {
            "transform": [{"filter": "datum.leads"}],
            "mark": {"type": "line", "color": ACCENT, "strokeWidth": 3, "point": {"color": ACCENT, "size": 60}},
            "encoding": {**line, "tooltip": tooltip},
        },
        {
            "transform": [{"filter": f"datum.leads && datum.rung < {last}"}],
            "mark": {"type": "text", "dy": -12, "dx": 10, "color": ACCENT, "fontWeight": "bold"},
            "encoding": {"x": x, "y": y, "text": {"field": "rank"}},
        },
        {
            "transform": [{"filter": "datum.kind != '' && !datum.leads"}],
            "mark": {"type": "point", "size": 45, "color": INK, "opacity": 0.8, "strokeWidth": 1.2},
            "encoding": {"x": x, "y": y, "shape": shape, "tooltip": tooltip},
        },
    ]


def _label_layer(history: SearchHistory, ranks: Ranks, most: int) -> dict[str, Any]:
    """Return the names of the trials that finished, or of the first of them, beside the last column."""
    last = len(history.rungs) - 1
    finished = [trial for trial in history.trials if last in ranks.get(trial.number, {})]
    finished.sort(key=lambda trial: ranks[trial.number][last])
    named = finished[: _MOST_LOG_LABELS if most > _MANY_RANKS else _MOST_LABELS]
    places = [float(ranks[trial.number][last]) for trial in named]
    if most <= _MANY_RANKS:
        places = spread(places, _LABEL_PX * most / HEIGHT)
    rows = [
        {"rung": last, "rank": place, "text": f"{ranks[trial.number][last]}. {label_trial(trial)}"}
        for trial, place in zip(named, places, strict=True)
    ]
    return {
        "data": {"values": rows},
        "mark": {"type": "text", "align": "left", "dx": 9},
        "encoding": {
            "x": {"field": "rung", "type": "quantitative"},
            "y": {"field": "rank", "type": "quantitative"},
            "text": {"field": "text"},
        },
    }


def _table(history: SearchHistory, drawn: Sequence[HistoryTrial], ranks: Ranks) -> ChartTable:
    rungs = range(len(history.rungs))
    columns = ("trial", "state", *(f"rank at {_percent(rung)}" for rung in history.rungs))
    order = sorted(drawn, key=lambda trial: (-max(ranks[trial.number]), ranks[trial.number][max(ranks[trial.number])]))
    rows: list[tuple[Cell, ...]] = [
        (
            describe_trial(history, trial).removeprefix("trial "),
            describe_end(trial),
            *(ranks[trial.number].get(rung) for rung in rungs),
        )
        for trial in order
    ]
    heads = [" ".join(_describe_rung(history, ranks, rung)).strip() for rung in rungs]
    notes = [f"{'; '.join(heads)}.", *_describe_correlation(history, ranks)]
    if unranked := sum(trial.number not in ranks for trial in history.trials):
        notes.append(f"Not ranked, because failed or before their first rung: {unranked} of {len(history.trials):,}.")
    if (left_out := len(ranks) - len(drawn)) > 0:
        notes.append(f"{len(drawn)} of {len(ranks):,} ranked trials are shown; {left_out:,} are left out.")
    return ChartTable(columns, tuple(rows), tuple(notes))
