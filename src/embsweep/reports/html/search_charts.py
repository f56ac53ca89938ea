"""The charts of a search: parallel coordinates, best so far, rungs, slots and what mattered."""

from __future__ import annotations

from embsweep.reports.html.best_so_far import best_so_far_chart
from embsweep.reports.html.chart import Chart
from embsweep.reports.html.parallel_coordinates import parallel_chart
from embsweep.reports.html.rung_diagram import rung_chart
from embsweep.reports.html.search_history import SearchHistory

_BUILDERS = (parallel_chart, best_so_far_chart, rung_chart)


def search_charts(history: SearchHistory) -> tuple[Chart, ...]:
    """Return the charts of a search in the order of the page, without those that do not apply."""
    return tuple(chart for build in _BUILDERS if (chart := build(history)) is not None)
