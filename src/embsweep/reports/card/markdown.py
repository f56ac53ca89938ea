"""Numbers, texts and tables as the model card prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#&~$])")


def number(value: float) -> str:
    """Format a score: `0.6012`, four decimals as in sentence-transformers' own cards."""
    return f"{value:.4f}"


def signed(value: float) -> str:
    """Format a difference of scores: `+0.0500`."""
    return f"{round(value, 4) + 0.0:+.4f}"  # no negative zero


def span(low: float, high: float) -> str:
    """Format an interval in words, because brackets before a parenthesis would be a link."""
    return f"{low:.4f} to {high:.4f}"


def probability(value: float) -> str:
    """Format a p-value: `0.0123`, and `4e-05` if four decimals would hide it."""
    return f"{value:.4f}" if value == 0 or value >= 1e-4 else f"{value:.0e}"


def plain(text: str) -> str:
    """Escape `text` in one line, so that nothing in it is parsed as Markdown or HTML."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def code(value: object) -> str:
    """Format `value` as a code span of one line."""
    return f"`{' '.join(str(value).replace('`', chr(39)).split())}`"


def listing(items: Iterable[object]) -> str:
    """Join items as `a, b and c`."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def count(amount: int, noun: str) -> str:
    """Format an amount with its noun: `1 query`, `2,373 queries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{amount:,} {noun if amount == 1 else plural}"


def settings(values: Mapping[str, object]) -> str:
    """Format settings in one line, each as code: `batch_size=48`."""
    return ", ".join(code(f"{key}={shown(value)}") for key, value in values.items()) or "–"


def shorten_keys(values: Mapping[str, object]) -> dict[str, object]:
    """Shorten dotted keys to their last part if that is unambiguous."""
    leaves = [key.rsplit(".", 1)[-1] for key in values]
    return {leaf if leaves.count(leaf) == 1 else key: values[key] for key, leaf in zip(values, leaves, strict=True)}


def shown(value: object) -> str:
    """Format a setting's value: floats with six significant digits, lists as `a, b and c`."""
    if isinstance(value, list | tuple):
        return listing(map(shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def build_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Build a Markdown table; its columns are the keys of the first row, which every row must have."""
    from transformers import modelcard  # sentence-transformers' own tables use it

    escaped = [{key.replace("|", r"\|"): value.replace("|", r"\|") for key, value in row.items()} for row in rows]
    table: str = modelcard.make_markdown_table(escaped)  # type: ignore[no-untyped-call]
    return table.replace("-:|", "--|").strip()


def fold(summary: str, text: str) -> str:
    """Wrap `text` in a collapsed block with a summary line."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"
