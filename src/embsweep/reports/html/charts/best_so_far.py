"""Chart of the best objective so far against what the search has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.parallel_coordinates import choose_lines, describe_end, describe_trial, label_trial
from embsweep.reports.html.charts.theme import ACCENT, HEIGHT, INK, lite, spread
from embsweep.reports.html.search_history import HistoryTrial, SearchHistory
from embsweep.reports.text import score

_SHAPES = {
    **{"finished": "circle", "stopped early": "stroke", "paused": "square", "running": "triangle-right"},
    **{"failed": "cross", "below the axis": "triangle-down"},
}
_KINDS = {"complete": "finished", "stopped": "stopped early", "paused": "paused", "running": "running"}
_LABEL_PX, _MARGIN = 15, 0.04
_CROWDED = 2.5
"""Lower values are drawn at the edge if they would make the range this many times as large."""


@dataclass(frozen=True)
class Progress:
    """A report of a trial, with what the search had trained until then, in full schedules."""

    trial: HistoryTrial
    objective: float
    cost: float


def list_progress(history: SearchHistory) -> list[Progress]:
    """Return every report in order of time; training that was repeated after a fault counts once."""
    reports = sorted(
        ((report, trial) for trial in history.trials for report in trial.reports),
        key=lambda pair: (pair[0].at, pair[1].number, pair[0].fraction),
    )
    trained: dict[int, float] = {}
    found, cost = [], 0.0
    for report, trial in reports:
        before = trained.get(trial.number, 0.0)
        cost += max(0.0, report.fraction - before)
        trained[trial.number] = max(before, report.fraction)
        found.append(Progress(trial, report.objective, cost))
    return found


def list_records(progress: Sequence[Progress]) -> list[Progress]:
    """Return the reports that were better than all before them; those of failed trials do not count."""
    records: list[Progress] = []
    for found in progress:
        if found.trial.can_win and (not records or found.objective > records[-1].objective):
            records.append(found)
    return records


def find_best_reports(progress: Sequence[Progress]) -> dict[int, Progress]:
    """Return the first report of each trial that had its best objective, by the trial's number."""
    best: dict[int, Progress] = {}
    for found in progress:
        known = best.get(found.trial.number)
        if known is None or found.objective > known.objective:
            best[found.trial.number] = found
    return best


def best_so_far_chart(history: SearchHistory) -> Chart | None:
    """Return the chart; None if fewer than two trials have an objective."""
    progress = list_progress(history)
    records, points = list_records(progress), find_best_reports(progress)
    if len(points) < 2 or not records:
        return None
    total = progress[-1].cost
    return Chart(
        key="search-best",
        title=_title(history, records, points, total),
        description=(
            f"A stepped line rises to the best objective so far over {total:.1f} full schedules of training; a mark "
            "for each trial is where it reached its own best objective. Lines show the base model and the recipe."
        ),
        spec=_build_spec(history, records, points, total),
        table=_table(history, records, total, len(points)),
    )


def _title(history: SearchHistory, records: Sequence[Progress], points: Mapping[int, Progress], total: float) -> str:
    last, leader = records[-1], history.leader
    end = f"{total:.1f} full schedules" + (" so far" if history.status == "RUNNING" else "")
    text = (
        f"Trial {last.trial.number} reached the best objective {score(last.objective)} after {last.cost:.1f} of {end}"
    )
    if leader is None or leader is last.trial or leader.number not in points:
        return f"{text}."
    own = points[leader.number]
    return f"{text}; the winner, trial {leader.number}, reached {score(own.objective)} after {own.cost:.1f}."


def _build_spec(
    history: SearchHistory, records: Sequence[Progress], points: Mapping[int, Progress], total: float
) -> dict[str, Any]:
    references = _references(history)
    bottom, top = _range(records, points, [value for value, _ in references])
    drawn = {trial.number for trial in choose_lines(history.trials)}
    rows = [_point(history, found, bottom) for number, found in points.items() if number in drawn]
    steps = [{"cost": found.cost, "best": found.objective} for found in records]
    x: dict[str, Any] = {"field": "cost", "type": "quantitative", "title": "full schedules trained"}
    x |= {"scale": {"domain": [0, total], "nice": False}}
    y = {"type": "quantitative", "title": "objective", "scale": {"domain": [bottom, top], "nice": False, "zero": False}}
    line = {"type": "line", "interpolate": "step-after", "color": ACCENT, "strokeWidth": 2.5}
    data = {"values": [*steps, {"cost": total, "best": steps[-1]["best"]}]}
    return lite(
        [
            *_reference_layers(references, y),
            {"data": data, "mark": line, "encoding": {"x": x, "y": {**y, "field": "best"}}},
            *_point_layers(rows, x, y),
            _label_layer(history, records, points, references, (bottom, top, total)),
        ],
        rows,
    )


def _references(history: SearchHistory) -> list[tuple[float, str]]:
    found = [] if history.baseline is None else [(history.baseline, "base")]
    recipe = history.recipe
    return [*found, *([] if recipe is None or recipe.objective is None else [(recipe.objective, "recipe")])]


def _range(
    records: Sequence[Progress], points: Mapping[int, Progress], references: Sequence[float]
) -> tuple[float, float]:
    """Return the ends of the axis of objectives, which leave out outliers below."""
    counted = [*(found.objective for found in records), *references]
    values = sorted([found.objective for found in points.values()])
    counted.append(values[len(values) // 4])
    low, high = min(counted), max(counted)
    if (high - values[0]) <= _CROWDED * (high - low):
        low = min(low, values[0])
    margin = _MARGIN * (high - low or 0.1)
    return low - margin, high + margin


def _point(history: SearchHistory, found: Progress, bottom: float) -> dict[str, Any]:
    trial = found.trial
    is_below = found.objective < bottom
    return {
        "trial": describe_trial(history, trial).removeprefix("trial "),
        "state": describe_end(trial),
        "objective": score(found.objective),
        "cost": round(found.cost, 4),
        "y": max(found.objective, bottom),
        "kind": "below the axis" if is_below else _KINDS.get(trial.state, trial.state),
        "leads": trial is history.leader,
    }


def _point_layers(
    rows: Sequence[Mapping[str, Any]], x: Mapping[str, Any], y: Mapping[str, Any]
) -> list[dict[str, Any]]:
    shown = [kind for kind in _SHAPES if any(row["kind"] == kind for row in rows)]
    shape: dict[str, Any] = {"field": "kind", "type": "nominal", "title": None, "scale": {"domain": shown}}
    shape["scale"]["range"] = [_SHAPES[kind] for kind in shown]
    tooltip = [{"field": name, "type": "nominal"} for name in ("trial", "state", "objective")]
    place = {"x": x, "y": {**y, "field": "y"}}
    return [
        {
            "mark": {"type": "point", "size": 40, "color": INK, "opacity": 0.7, "strokeWidth": 1.2},
            "encoding": {**place, "shape": shape, "tooltip": tooltip},
        },
        {
            "transform": [{"filter": "datum.leads"}],
            "mark": {"type": "point", "size": 150, "color": ACCENT, "filled": True, "opacity": 1, "shape": "diamond"},
            "encoding": {**place, "tooltip": tooltip},
        },
    ]


def _reference_layers(references: Sequence[tuple[float, str]], y: Mapping[str, Any]) -> list[dict[str, Any]]:
    dashes = {"base": [6, 4], "recipe": [2, 3]}
    return [
        {
            "data": {"values": [{"value": value}]},
            "mark": {"type": "rule", "strokeDash": dashes[name], "opacity": 0.7},
            "encoding": {"y": {**y, "field": "value"}},
        }
        for value, name in references
    ]


def _label_layer(
    history: SearchHistory,
    records: Sequence[Progress],
    points: Mapping[int, Progress],
    references: Sequence[tuple[float, str]],
    ends: tuple[float, float, float],
) -> dict[str, Any]:
    """Return the texts at the right end: the best trial, the winner if it is another one, base model and recipe."""
    bottom, top, total = ends
    best, leader = records[-1].trial, history.leader
    labels = [(records[-1].objective, label_trial(best))]
    if leader is not None and leader is not best and leader.number in points:
        labels.append((points[leader.number].objective, label_trial(leader)))
    labels += references
    gap = _LABEL_PX * (top - bottom) / HEIGHT
    rows = [
        {"cost": total, "y": y, "text": text}
        for y, (_, text) in zip(spread([value for value, _ in labels], gap), labels, strict=True)
    ]
    return {
        "data": {"values": rows},
        "mark": {"type": "text", "align": "left", "dx": 6},
        "encoding": {
            "x": {"field": "cost", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "text": {"field": "text"},
        },
    }


def _table(history: SearchHistory, records: Sequence[Progress], total: float, count: int) -> ChartTable:
    rows: list[tuple[Cell, ...]] = [
        (describe_trial(history, found.trial).removeprefix("trial "), found.objective, f"{found.cost:.2f}")
        for found in records
    ]
    notes = [
        f"A row for each new best objective; {count} trials trained {total:.2f} full schedules. What was trained again "
        "after a fault counts once."
    ]
    notes += [f"The {name} has {score(value)}." for value, name in _references(history)]
    if failed := sum(trial.state == "failed" for trial in history.trials):
        notes.append(f"Failed trials ({failed}) do not count as best.")
    if any(trial.objective is not None and trial.objective < 0 for trial in history.trials):
        notes.append("An objective below 0 says by how much a trial violates a constraint.")
    return ChartTable(("trial", "best so far", "full schedules trained"), tuple(rows), tuple(notes))
