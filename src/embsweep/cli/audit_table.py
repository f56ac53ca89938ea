"""Terminal output of an audit, for terminals of at least 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from os.path import commonprefix

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from embsweep.audit.findings import SEVERITIES, Example, Finding
from embsweep.audit.naive_evaluation import SHOWN
from embsweep.audit.report import AuditReport, Figures
from embsweep.cli.console import number_table
from embsweep.reports.text import TABLE_STYLE, score

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
_EXAMPLE_CHARS = 72
_BEFORE_DIFFERENCE = 36
_BAR_CHARS = 14
_MOST_BARS = 12


def show_report(report: AuditReport, console: Console) -> None:
    """Print sizes, findings by severity, histograms, and the scores of the naive and the correct evaluation."""
    console.print(_sizes(report.figures))
    console.print()
    for severity in SEVERITIES:
        if findings := report.of(severity):
            _show_findings(report, severity, findings, console)
    for part in (_histograms(report.figures), _readings(report.figures), _verdict(report)):
        console.print(part)
        console.print()


def _sizes(figures: Figures) -> RenderableType:
    table = number_table("", "rows", "queries", "passages", "passage groups")
    groups = {side.name: f"{side.groups:,}" for side in figures.held_out}
    for size in figures.sizes:
        counts = (f"{count:,}" for count in (size.rows, size.queries, size.passages))
        table.add_row(size.name, *counts, groups.get(size.name, ""))
    table.add_row("corpus", "", "", f"{figures.corpus:,}", "", style="dim")
    return Group(Text(f"Data audit of {figures.data}, for model {figures.model}", "bold"), Text(), table)


def _show_findings(report: AuditReport, severity: str, findings: Sequence[Finding], console: Console) -> None:
    console.print(Text(f"{len(findings)} {severity}{'s' if len(findings) > 1 else ''}", _STYLES[severity]))
    for finding in findings:
        waived = " (waived)" if finding.name in report.waived else ""
        _print_indented(Text.assemble((finding.name, "bold"), (waived, "magenta")), 2, console)
        _print_indented(Text(f"{finding.message[:1].upper()}{finding.message[1:]}."), 4, console)
        _print_indented(Text(f"→ {finding.hint}", "dim" if severity == "note" else "green"), 4, console)
        for example in finding.examples:
            _print_indented(Text("\n".join(_show_example(example)), "dim"), 4, console)
    console.print()


def _print_indented(text: Text, indent: int, console: Console) -> None:
    """Print an indented text; wrapped lines have the same indent, and a console that does not wrap gets long lines."""
    lines = (Text(" " * indent) + line for line in text.split())
    console.print(Text("\n").join(lines) if console.soft_wrap else Padding(text, (0, 0, 0, indent)))


def _histograms(figures: Figures) -> RenderableType:
    shown = [
        _bars("Words of a query", figures.lengths["queries"].histogram),
        _bars("Words of a passage", figures.lengths["passages"].histogram),
        _bars("Queries per passage", figures.structure.queries_per_passage),
        _bars("Passages per query", figures.structure.passages_per_query),
        _bars("Languages of queries", figures.languages.queries),
        _bars("Languages of passages", figures.languages.passages),
    ]
    return Columns(shown, padding=(1, 4))


def _bars(title: str, counts: Mapping[str, int] | Mapping[int, int]) -> Table:
    columns = (Column(no_wrap=True, justify="right"), Column(no_wrap=True), Column(no_wrap=True, justify="right"))
    table = Table(*columns, title=title, title_style="bold", show_header=False, **TABLE_STYLE)
    shown = dict(islice(counts.items(), _MOST_BARS))
    largest = max(shown.values())
    for label, count in shown.items():
        table.add_row(str(label), "█" * round(_BAR_CHARS * count / largest) or "▏", f"{count:,}")
    if len(counts) > len(shown):
        table.add_row("…", "", f"{sum(counts.values()) - sum(shown.values()):,}")
    return table


def _readings(figures: Figures) -> RenderableType:
    table = number_table("", *SHOWN)
    for reading in figures.readings:
        table.add_row(f"{reading.ranker}, one id per row", *(score(reading.naive[metric]) for metric in SHOWN))
        table.add_row(f"{reading.ranker}, correct", *(score(reading.right[metric]) for metric in SHOWN), style="bold")
    counts = f"{figures.readings[0].queries:,} queries, {figures.readings[0].rows:,} rows"
    title = f"Scores of an evaluation with one id per row ({counts})"
    return Group(Text(title, "bold"), Text(), table)


def _verdict(report: AuditReport) -> Text:
    stopping = report.unwaived
    if not stopping:
        return Text("No errors: the data does not stop a sweep.", "green")
    names = ",".join(finding.name for finding in stopping)
    count = f"{len(stopping)} error{'s' if len(stopping) > 1 else ''}"
    return Text(f"{count} would stop a sweep; to accept them: audit.waive=[{names}]", "bold red")


def _show_example(texts: Example) -> list[str]:
    """Return one shortened line per text.

    Two long texts with the same start are shown from shortly before their first difference.
    """
    lines = [" ".join(text.split()) for text in texts]
    common = len(commonprefix(lines)) if len(lines) > 1 else 0  # noqa: RUF071 - of characters
    start = max(0, common - _BEFORE_DIFFERENCE) if max(map(len, lines)) > _EXAMPLE_CHARS else 0
    shown = [f"…{line[start:]}" if start else line for line in lines]
    return [
        f"{mark} {line if len(line) <= _EXAMPLE_CHARS else f'{line[: _EXAMPLE_CHARS - 1]}…'}"
        for mark, line in zip("·↔", shown, strict=False)
    ]
