"""Render the report of a sweep: one self-contained HTML file of at most 2 MB that makes no request.

Its content security policy allows the two scripts that it contains, by their hashes, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from embsweep.core.redaction import escape_control_characters
from embsweep.reports import text
from embsweep.reports.html.answer import Answer, answer
from embsweep.reports.html.charts.chart import Cell, Chart
from embsweep.reports.html.comparison import compare_sweeps
from embsweep.reports.html.figures import Figures, compute_figures
from embsweep.reports.html.numbers import Number, Sentence
from embsweep.reports.html.page import ReportData
from embsweep.reports.html.pictures import Pictures, clean_svg, draw
from embsweep.reports.html.queries import MOST_LISTED, QueryRow, list_queries
from embsweep.reports.html.sections import build_sections, describe_influence

LIMIT_BYTES = 2_000_000
_ATTEMPTS = ((300, True), (60, True), (60, False))
"""Rows of a chart's table, and whether charts are interactive: the next line if the page would be too large."""

Draw = Callable[[Sequence[Mapping[str, Any]]], Pictures]


def render_report(data: ReportData, *, draw_charts: Draw = draw) -> bytes:
    """Render the report of a sweep.

    Args:
        data: What it says.
        draw_charts: Draws the charts.

    Raises:
        EmbsweepError: If the charts cannot be drawn.
    """
    figures = None if data.evidence is None else compute_figures(data.evidence)
    sections = build_sections(data, figures)
    drawn, full_script = _draw([chart for section in sections for chart in section.charts], draw_charts)
    page = b""
    for rows, is_interactive in _ATTEMPTS:
        shown = {"sections": sections, "drawn": drawn, "most_rows": rows, "answer": _answer(data, figures)}
        page = _render(data, shown, full_script if is_interactive else "")
        if len(page) <= LIMIT_BYTES:
            break
    return page


def render_comparison(one: ReportData, other: ReportData, *, draw_charts: Draw = draw) -> bytes:
    """Render two sweeps side by side.

    Args:
        one: The first sweep.
        other: The second one.
        draw_charts: Draws the chart.

    Raises:
        EmbsweepError: If the chart cannot be drawn.
    """
    found = compare_sweeps(one, other)
    drawn, script = _draw([] if found.chart is None else [found.chart], draw_charts)
    figures = [None if data.evidence is None else compute_figures(data.evidence) for data in (one, other)]
    sides = [Side(data, _answer(data, known)) for data, known in zip((one, other), figures, strict=True)]
    context = {
        **_frame(f"{one.name} and {other.name}", [script]),
        **{"found": found, "sides": sides, "drawn": drawn, "is_interactive": bool(script)},
    }
    return encode(_load_templates().get_template("comparison.html.j2").render(context))


@dataclass(frozen=True)
class Side:
    """One of two sweeps side by side."""

    data: ReportData
    answer: Answer | None


def _draw(charts: Sequence[Chart], draw_charts: Draw) -> tuple[dict[str, Picture], str]:
    """Return the pictures by the key of their chart, and the script; nothing is started without a chart."""
    if not charts:
        return {}, ""
    specs = [_clean_texts(chart.spec) for chart in charts]
    pictures = draw_charts(specs)
    drawn = zip(charts, specs, pictures.svgs, strict=True)
    return {c.key: Picture(clean_svg(svg, c.key), to_json(spec)) for c, spec, svg in drawn}, pictures.script


def _frame(title: str, sources: Sequence[str]) -> dict[str, Any]:
    """Return what every page has: title, style, and scripts with the policy that allows them."""
    scripts = [Markup(source) for source in sources if source]  # noqa: S704 - our own scripts
    style = Markup(_read("style.css"))  # noqa: S704 - our own style
    return {"title": title, "scripts": scripts, "policy": content_policy(scripts), "style": style}


@dataclass(frozen=True)
class Picture:
    """A drawn chart: its static picture, and its specification as JSON."""

    svg: Markup
    spec: Markup


def _answer(data: ReportData, figures: Figures | None) -> Answer | None:
    return None if data.evidence is None or figures is None else answer(data.evidence, figures)


def _render(data: ReportData, shown: Mapping[str, Any], script: str) -> bytes:
    queries = None if data.evidence is None else list_queries(data.evidence, data.texts)
    context = {
        **_frame(f"{data.name} – report", [script, _read("filter.js")]),
        "data": data,
        "evidence": data.evidence,
        "influence": describe_influence(data),
        "is_interactive": bool(script),
        **shown,
        "queries": queries,
    }
    template = _load_templates().get_template("page.html.j2")
    rows: Sequence[QueryRow] = () if queries is None else queries.rows[:MOST_LISTED]
    size = len(encode(template.render(context, listed=())))
    return encode(template.render(context, listed=_fit(rows, LIMIT_BYTES - size - 1000)))


def _fit(rows: Sequence[QueryRow], room_bytes: int) -> Sequence[QueryRow]:
    """Return the first rows that fit into the room that the page has left."""
    macro = _load_templates().get_template("queries.html.j2").module.listed_row  # type: ignore[attr-defined]
    for number, row in enumerate(rows):
        room_bytes -= len(encode(macro(row, True, True)))
        if room_bytes < 0:
            return rows[:number]
    return rows


def content_policy(scripts: Sequence[str]) -> str:
    """Return a content security policy that allows these inline scripts, inline styles and nothing else.

    Raises:
        ValueError: If a script would end early in a page.
    """
    for source in scripts:
        if "</script" in source.lower() or "<!--" in source:
            raise ValueError("a script contains the end of a script")
    digests = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {allowed}"
    )


def to_json(value: object) -> Markup:
    """Return a value as JSON that can stand in a script element: nothing in it can end the element."""
    plain = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)  # noqa: S704 - escaped here


def encode(page: str) -> bytes:
    """Encode a page; a lone surrogate becomes a question mark."""
    return page.encode("utf-8", "replace")


def _clean_texts(value: Any) -> Any:
    """Escape control characters in every text of a specification: a picture could not be parsed with them."""
    if isinstance(value, str):
        return escape_control_characters(value)
    if isinstance(value, Mapping):
        return {escape_control_characters(str(key)): _clean_texts(part) for key, part in value.items()}
    return [_clean_texts(part) for part in value] if isinstance(value, list | tuple) else value


@cache
def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


@cache
def _load_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("embsweep.reports.html", "."),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        say=say, cell=cell, score=show_score, gain=show_gain, rank=show_rank, words=text.score, amount=show_amount
    )
    return environment


def _finalize(value: object) -> object:
    return escape_control_characters(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def say(sentence: Sentence) -> Markup:
    """Return a sentence as HTML; its numbers have all of their digits as values."""
    return Markup("").join(_number(part) if isinstance(part, Number) else _text(part) for part in sentence)


def cell(value: Cell) -> Markup:
    """Return a cell of a table; a number has all of its digits as its value."""
    if value is None:
        return Markup("<td class=n>–</td>")
    if isinstance(value, str):
        return Markup("<td><bdi>{}</bdi></td>").format(_text(value))
    if not isinstance(value, Number):
        value = Number(value, show_amount(value))
    return Markup("<td class=n>{}</td>").format(_number(value))


def show_amount(value: float) -> str:
    """Return how a number without a form of its own is shown."""
    if isinstance(value, int):
        return f"{value:,}"
    return text.score(value) if abs(value) <= 1 else f"{value:,.4g}"


def show_score(value: float) -> Markup:
    """Return a score as HTML."""
    return _number(Number(value, text.score(value)))


def show_gain(value: float) -> Markup:
    """Return a difference of scores as HTML."""
    return _number(Number(value, text.gain(value)))


def show_rank(value: int | None) -> Markup:
    """Return a rank as HTML; 0 is not among the first 100."""
    return Markup("–") if value is None else _number(Number(value, str(value) if value else ">100"))


def _number(number: Number) -> Markup:
    return Markup('<data value="{}">{}</data>').format(repr(number.value), number.shown)


def _text(value: str) -> Markup:
    return escape(escape_control_characters(value))
