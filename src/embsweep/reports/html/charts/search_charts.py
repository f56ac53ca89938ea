"""The charts of a search: parallel coordinates, best so far, rungs, slots and what mattered."""

from __future__ import annotations

from embsweep.reports.html.charts.best_so_far import best_so_far_chart
from embsweep.reports.html.charts.chart import Chart
from embsweep.reports.html.charts.importance_chart import describe_importance, importance_chart
from embsweep.reports.html.charts.parallel_coordinates import parallel_chart
from embsweep.reports.html.charts.rung_diagram import rung_chart
from embsweep.reports.html.charts.slot_timeline import timeline_chart
from embsweep.reports.html.search_history import SearchHistory

_BUILDERS = (importance_chart, parallel_chart, best_so_far_chart, rung_chart, timeline_chart)


def search_charts(history: SearchHistory) -> tuple[Chart, ...]:
    """Return the charts of a search in the order of the page, without those that do not apply."""
    return tuple(chart for build in _BUILDERS if (chart := build(history)) is not None)


def search_notes(history: SearchHistory) -> tuple[str, ...]:
    """Return sentences in the place of charts that cannot be drawn: too few trials to say what mattered."""
    has_chart = any(target.shares for target in history.importance)
    return () if has_chart or not history.space else describe_importance(history)
