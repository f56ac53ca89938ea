"""Configured columns: their names, the check that a file has them, and the conversion of a row to a pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Mapping
from itertools import islice

from embsweep.config.data import FilesConfig, HubConfig
from embsweep.core.errors import did_you_mean
from embsweep.data.collection import Pair
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.text import parse_text

_MAX_LISTED = 30
_MAX_NAME_CHARS = 80
_MAX_CANDIDATES = 1000
"""Number of columns that are compared with a misspelt name: a broken file may seem to have a million."""


Columns = Mapping[str, str]
"""Column name of query, passage and, optionally, hard negative, by configuration key under `data`."""


def parse_columns(config: FilesConfig | HubConfig, diagnostics: DiagnosticList) -> Columns:
    """Return the configured columns; record a diagnostic for each column that is configured twice."""
    configured = {"anchor": config.anchor, "positive": config.positive, "negative": config.negative}
    columns = {key: name for key, name in configured.items() if name is not None}
    names = list(columns.values())
    for position, (key, name) in enumerate(columns.items()):
        if name in names[:position]:
            diagnostics.add(
                "duplicate-column",
                f"data.{key}",
                "names a column that is already used",
                name,
                expected="another column",
            )
    return columns


def validate_header(columns: Columns, present: Sized[str], where: str, diagnostics: DiagnosticList) -> bool:
    """Check that all configured columns are present.

    Args:
        columns: Configured columns.
        present: Column names of the file or row.
        where: Location of the header or row, for the diagnostics.
        diagnostics: Receives a diagnostic for each missing column.

    Returns:
        Whether all configured columns are present.
    """
    missing = [(key, name) for key, name in columns.items() if name not in present]
    for key, name in missing:
        problem = f"there is no column '{name}' (data.{key})"
        if diagnostics.is_full:
            diagnostics.add("missing-column", where, problem)
            continue
        guess = did_you_mean(name, [c for c in islice(present, _MAX_CANDIDATES) if c not in columns.values()])
        hint = guess or f"set data.{key} to the name of one of these columns"
        diagnostics.add("missing-column", where, problem, expected=f"columns here: {list_names(present)}", hint=hint)
    return not missing


def list_names(present: Sized[str]) -> str:
    """List the first names, quoted and shortened; the names of a file of the wrong kind may be as long as the file."""
    names = [
        repr(name if len(name) <= _MAX_NAME_CHARS else name[:_MAX_NAME_CHARS] + "…")
        for name in islice(present, _MAX_LISTED)
    ]
    more = len(present) - len(names)
    return ", ".join([*names, *([f"and {more:,} more"] if more > 0 else [])]) or "none"


def validate_unique(present: list[str], where: str, diagnostics: DiagnosticList) -> None:
    """Check that no column name occurs more than once; such a name is ambiguous.

    Args:
        present: Column names of the file.
        where: Location of the header, for the diagnostics.
        diagnostics: Receives a diagnostic for each repeated name.
    """
    for name, count in Counter(present).items():
        if count > 1:
            diagnostics.add("duplicate-column", where, f"column '{name}' occurs {count} times", expected="once")


def read_pair(row: Mapping[str, object], columns: Columns, where: str, diagnostics: DiagnosticList) -> Pair | None:
    """Convert a row to a pair of stripped texts.

    Args:
        row: Values by column name; it must have all configured columns.
        columns: Configured columns.
        where: Location of the row (`my.jsonl:17`), for the diagnostics and for the pair.
        diagnostics: Receives a diagnostic for each value that is not a usable text.

    Returns:
        The pair, or None if a diagnostic was recorded.
    """
    texts = {key: parse_text(row[name], where, name, diagnostics) for key, name in columns.items()}
    usable = {key: text for key, text in texts.items() if text is not None}
    return Pair(**usable, place=where) if len(usable) == len(texts) else None
