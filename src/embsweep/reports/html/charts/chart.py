"""A chart of the report as a value: its Vega specification, and the table that says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embsweep.reports.html.numbers import Number

Cell = str | int | float | Number | None
"""None is shown as a dash; a number without a form of its own as a score, or with four significant digits."""


@dataclass(frozen=True)
class ChartTable:
    """The numbers of a chart for people who cannot see it; `notes` say what was left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """One chart.

    `key` is its id in the page, `title` says in one sentence what is seen, and `description` is read to those who
    cannot see it. `spec` is a Vega or Vega-Lite specification with its data inline; its texts and lines have the colour
    `currentColor`, so that one picture suits light and dark pages.
    """

    key: str
    title: str
    description: str
    spec: Mapping[str, Any]
    table: ChartTable
