"""Chart of the finalists: every fresh run, the value in the search, the test score, and the band of ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.theme import ACCENT, INK, lite, name_axis
from embsweep.reports.html.numbers import difference_cells
from embsweep.reports.text import gain, score
from embsweep.selection.evidence import WINNER, Comparison, ConfirmedRecord, Evidence

_SEED, _SEARCH, _TEST = "fresh seed", "search", "test"


def finalist_chart(evidence: Evidence) -> Chart | None:
    """Return the chart of the finalists; None if nothing was confirmed and there is only one."""
    verdict = evidence.verdict
    if not verdict.confirmed:
        return None
    order = sorted(verdict.confirmed, key=lambda facts: (facts.trial != verdict.winner, -(_level(facts) or 0.0)))
    tests = {found.trial: evidence.objectives[name] for name, found in evidence.test.items() if found.trial is not None}
    points = [point for facts in order for point in _points(facts, tests, label_finalist(facts, verdict.winner))]
    if not points:
        return None
    return Chart(
        key="finalists",
        title=_title(evidence, order),
        description="One line for each finalist: a dot for every fresh seed, its value in the search, its test score.",
        spec=_spec(evidence, order, points),
        table=_table(evidence, order, tests),
    )


def label_finalist(facts: ConfirmedRecord, winner: int) -> str:
    """Return the name of a finalist: `trial 3, winner`."""
    parts = [f"trial {facts.trial}", *(["winner"] if facts.trial == winner else [])]
    return ", ".join([*parts, *(["recipe"] if facts.is_recipe else [])])


def _level(facts: ConfirmedRecord) -> float | None:
    return mean(facts.confirmed) if facts.confirmed else facts.searched


def _title(evidence: Evidence, order: Sequence[ConfirmedRecord]) -> str:
    verdict, runs = evidence.verdict, sum(len(facts.confirmed) for facts in order)
    if not runs:
        return "No finalist was run again, so nothing shows how much of a lead is chance."
    count = f"{runs} fresh runs of {len(order)} finalists"
    if verdict.outcome == "tied":
        return f"{count} cannot tell trials {', '.join(map(str, verdict.tied_with))} apart (band)."
    rivals = [c for c in verdict.comparisons if c.dim is None]
    if not rivals:
        is_only = any(facts.failures for facts in order)
        why = "is the only one whose runs all finished" if is_only else "has the highest mean"
        return f"{count}: trial {verdict.winner} {why}."
    closest = min(rivals, key=lambda c: c.difference)
    return f"{count}: trial {verdict.winner} leads {closest.reference} by {gain(closest.difference)} on validation."


def _points(facts: ConfirmedRecord, tests: Mapping[int, float], label: str) -> list[dict[str, Any]]:
    found = [{"what": _SEED, "value": value} for value in facts.confirmed]
    if facts.searched is not None:
        found.append({"what": _SEARCH, "value": facts.searched})
    if facts.trial in tests:
        found.append({"what": _TEST, "value": tests[facts.trial]})
    return [{"finalist": label, **point} for point in found]


def _intervals(evidence: Evidence, order: Sequence[ConfirmedRecord]) -> list[dict[str, Any]]:
    """Return each other finalist's interval: the winner's mean minus the bounds of the difference from it."""
    verdict = evidence.verdict
    own = next(_level(facts) for facts in order if facts.trial == verdict.winner)
    found = _by_trial(evidence)
    return [
        {
            "finalist": label_finalist(facts, verdict.winner),
            "low": (own or 0.0) - found[facts.trial].high,
            "high": (own or 0.0) - found[facts.trial].low,
        }
        for facts in order
        if facts.trial in found
    ]


def _by_trial(evidence: Evidence) -> dict[int, Comparison]:
    """Return the winner's comparison with each other finalist on the objective, by that one's trial."""
    named = {c.reference: c for c in evidence.verdict.comparisons if c.dim is None}
    return {
        facts.trial: named[name]
        for facts in evidence.verdict.confirmed
        if (name := "recipe" if facts.is_recipe else f"trial {facts.trial}") in named
    }


def _spec(evidence: Evidence, order: Sequence[ConfirmedRecord], points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = [label_finalist(facts, evidence.verdict.winner) for facts in order]
    y = {"field": "finalist", "type": "nominal", "sort": labels, "title": None, "axis": name_axis(labels)}
    x = {"field": "value", "type": "quantitative", "title": "objective", "scale": {"zero": False}}
    names = [_SEED, _SEARCH, _TEST]
    shape = {"field": "what", "title": None, "scale": {"domain": names, "range": ["circle", "stroke", "diamond"]}}
    color = {"field": "what", "title": None, "scale": {"domain": names, "range": [ACCENT, INK, INK]}}
    layers: list[dict[str, Any]] = []
    tied = [_level(facts) or 0.0 for facts in order if facts.trial in evidence.verdict.tied_with]
    if tied:
        layers.append(
            {
                "data": {"values": [{"from": min(tied), "to": max(tied)}]},
                "mark": {"type": "rect", "opacity": 0.18, "color": ACCENT},
                "encoding": {"x": {**x, "field": "from"}, "x2": {"field": "to"}},
            }
        )
    if bounds := _intervals(evidence, order):
        layers.append(
            {
                "data": {"values": bounds},
                "mark": {"type": "rule", "opacity": 0.6},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            }
        )
    layers += [
        {
            "mark": {"type": "point", "size": 80, "opacity": 1, "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": x,
                "shape": shape,
                "color": color,
                "tooltip": [
                    {"field": "finalist", "type": "nominal"},
                    {"field": "what", "type": "nominal"},
                    {"field": "value", "type": "quantitative", "format": ".4f"},
                ],
            },
        },
    ]
    return lite(layers, points, height=40 + 44 * len(order))


def _table(evidence: Evidence, order: Sequence[ConfirmedRecord], tests: Mapping[int, float]) -> ChartTable:
    seeds = max(len(facts.confirmed) for facts in order)
    found, winner = _by_trial(evidence), evidence.verdict.winner
    rows = []
    for facts in order:
        again: list[Cell] = [*facts.confirmed, *[None] * (seeds - len(facts.confirmed))]
        level = mean(facts.confirmed) if facts.confirmed else None
        c = found.get(facts.trial)
        difference: list[Cell] = [None] * 4 if c is None else [*difference_cells(c)]
        row = (label_finalist(facts, winner), facts.searched, level, *again, tests.get(facts.trial), *difference)
        rows.append(row)
    columns = (
        *("finalist", "search", "mean of fresh seeds", *(f"seed {number + 1}" for number in range(seeds))),
        *("test", "winner is ahead by", "at least", "at most", "adjusted p"),
    )
    failed = [f"trial {facts.trial}: {facts.failures} fresh runs failed." for facts in order if facts.failures]
    rule = (
        f"Values are the objective; the rule of the choice: {evidence.verdict.rule}. Search and seeds are on "
        f"validation, at least and at most bound the 95 % interval of the difference, with query and seed variance."
    )
    lost = (
        f"The winner's weights have {score(evidence.on_validation(WINNER))} on validation and "
        f"{score(evidence.objectives[WINNER])} on test."
    )
    return ChartTable(columns, tuple(rows), (rule, lost, *failed))
