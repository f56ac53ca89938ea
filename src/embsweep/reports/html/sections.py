"""The sections of the report, in their order, as values that the templates show."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.reports.html.charts.chart import Chart
from embsweep.reports.html.charts.finalist_charts import finalist_chart
from embsweep.reports.html.charts.importance_chart import importance_chart
from embsweep.reports.html.charts.quality_charts import quality_chart, retention_chart
from embsweep.reports.html.charts.search_charts import search_charts, search_notes
from embsweep.reports.html.charts.slice_charts import slice_chart
from embsweep.reports.html.charts.storage_charts import storage_charts
from embsweep.reports.html.figures import Figures
from embsweep.reports.html.page import ReportData
from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class Section:
    """A section of charts; `lead` are sentences before them. With `is_open` the tables are shown with the charts."""

    key: str
    heading: str
    lead: tuple[str, ...]
    charts: tuple[Chart, ...]
    is_open: bool = False


def build_sections(data: ReportData, figures: Figures | None) -> tuple[Section, ...]:
    """Return the sections of charts that the report has something to show for.

    Args:
        data: What the report says.
        figures: What follows from its evidence.
    """
    found = () if data.evidence is None or figures is None else _result_sections(data.evidence, figures)
    if data.history is not None:
        lead, charts = search_notes(data.history), search_charts(data.history)
        found = (*found, Section("search", "The search", lead, charts))
    return tuple(section for section in found if section.charts or section.lead)


def _result_sections(evidence: Evidence, figures: Figures) -> tuple[Section, ...]:
    return (
        Section(
            "dimensions",
            "Quality by dimension",
            (),
            _present(quality_chart(evidence, figures), retention_chart(evidence, figures)),
            True,
        ),
        Section("bytes", "Quality against stored bytes", (), storage_charts(evidence)),
        Section("confirmation", "Finalists", _confirmation_lead(evidence), _present(finalist_chart(evidence)), True),
        Section("by-slice", "Slices", (), _present(slice_chart(evidence, figures.slices)), True),
    )


def _present(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart is not None)


def _confirmation_lead(evidence: Evidence) -> tuple[str, ...]:
    if evidence.verdict.outcome == "unconfirmed":
        return ("Nothing was run again with fresh seeds, so this report cannot say how much of a lead is chance.",)
    return ()


def describe_influence(data: ReportData) -> str:
    """Return in one sentence which parameters mattered, or why that cannot be said; empty if nothing was searched."""
    if data.history is None or not data.history.space:
        return ""
    chart = importance_chart(data.history)
    return " ".join(search_notes(data.history)) if chart is None else chart.title
