"""Filters of the model card's templates: every expression that a template prints is escaped, unless it is Markdown.

Markdown is a `Markup`; only the filters and macros here and in the templates make one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from markupsafe import Markup

from embsweep.core.markdown import code_span, escape_markdown
from embsweep.selection.evidence import Interval


def escape(value: object) -> Markup:
    """Escape a value in one line, so that nothing in it is parsed as Markdown or HTML; Markdown is left unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(escape_markdown(value))  # noqa: S704 - escaped here


def number(value: float) -> str:
    """Format a score: `0.6012`, four decimals as in sentence-transformers' own cards."""
    return f"{value:.4f}"


def signed(value: float) -> str:
    """Format a difference of scores: `+0.0500`."""
    return f"{round(value, 4) + 0.0:+.4f}"  # no negative zero


def bounded(interval: Interval) -> str:
    """Format a score with its 95 % interval: `0.6012 (0.5801 to 0.6220)`."""
    return f"{number(interval.mean)} ({number(interval.low)} to {number(interval.high)})"


def bounded_difference(interval: Interval) -> str:
    """Format a difference with its 95 % interval: `+0.0500 (+0.0301 to +0.0702)`."""
    return f"{signed(interval.mean)} ({signed(interval.low)} to {signed(interval.high)})"


def probability(value: float) -> str:
    """Format a p-value: `0.0123`, and `4e-05` if four decimals would hide it."""
    return f"{value:.4f}" if value == 0 or value >= 1e-4 else f"{value:.0e}"


def count(amount: int, noun: str) -> str:
    """Format an amount with its noun: `1 query`, `2,373 queries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{amount:,} {noun if amount == 1 else plural}"


def shown(value: object) -> str:
    """Format a setting's value: floats with six significant digits, lists as `a, b and c`."""
    if isinstance(value, list | tuple):
        return listing(map(shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def listing(items: Iterable[object]) -> str:
    """Join items as `a, b and c`."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def shorten_keys(values: Mapping[str, object]) -> dict[str, object]:
    """Shorten dotted keys to their last part if that is unambiguous."""
    leaves = [key.rsplit(".", 1)[-1] for key in values]
    return {leaf if leaves.count(leaf) == 1 else key: values[key] for key, leaf in zip(values, leaves, strict=True)}


def code(value: object) -> Markup:
    """Format a value as a code span of one line."""
    return Markup(code_span(value))  # noqa: S704 - nothing ends the span


def settings(values: Mapping[str, object]) -> Markup:
    """Format settings in one line, each as code: `batch_size=48`."""
    return Markup(", ").join(code(f"{key}={shown(value)}") for key, value in values.items()) or Markup("–")


def cell(value: object) -> Markup:
    """Escape a value for a table, where a bar separates the cells."""
    return escape(value).replace("|", r"\|")


def row(values: Iterable[object]) -> Markup:
    """Format a row of a table."""
    return Markup("| {} |").format(Markup(" | ").join(map(cell, values)))


def table(text: str) -> Markup:
    """Align the columns of a table; the first of its rows is the heading."""
    from transformers import modelcard  # sentence-transformers' own tables use it

    heading, *rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in text.splitlines()]
    found = [dict(zip(heading, cells, strict=True)) for cells in rows]
    aligned: str = modelcard.make_markdown_table(found)  # type: ignore[no-untyped-call]
    return Markup(aligned.replace("-:|", "--|"))  # noqa: S704 - the rows are Markdown


def paragraphs(text: str, prefix: str = "", separator: str = "\n\n") -> Markup:
    """Reduce each paragraph, which ends at an empty line, to one line after `prefix`."""
    found = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return Markup(separator.join(prefix + part for part in found) + "\n" * bool(found))  # noqa: S704 - the text is Markdown
