"""Formatting of durations, scores and lines, shared by several outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

TABLE_STYLE: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False, "header_style": "bold"}
"""Style of the tables in a result."""


def duration(seconds: float | None) -> str:
    """Format a duration: `75` → `1:15`, `4000` → `1:06:40`, None → `–`."""
    if seconds is None:
        return "–"
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def score(value: float | None) -> str:
    """Format a score: `0.45678` → `.4568`, None → `–`."""
    return "–" if value is None else f"{value:.4f}".replace("0.", ".", 1)


def gain(value: float) -> str:
    """Format a difference of scores with its sign: `+.0123`."""
    rounded = round(value, 4) + 0.0  # no negative zero
    return f"{rounded:+.4f}".replace("0.", ".", 1)


def plain_printer(console: Console) -> Callable[[str], None]:
    """Return a printer of texts without wrapping and markup, so that commands can be copied."""
    return partial(console.print, soft_wrap=True, highlight=False, markup=False)
