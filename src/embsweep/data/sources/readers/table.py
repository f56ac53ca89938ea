"""What every reader returns: column names, rows with their places, and what the reader found out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = tuple[str, Mapping[str, Any]]
"""Place of a row (`my.jsonl:17`), and its values by column name."""


@dataclass(frozen=True)
class Table:
    """A file of rows.

    `where` is the place of the column names. `read` returns the rows with at least the columns that it is given; it may
    record diagnostics. `is_ragged` is True if rows may lack a column. `notes` are lines for the user about how the file
    was read, `counts` numbers of rows that were passed over, `passages` texts that belong to the corpus only.
    """

    where: str
    columns: tuple[str, ...]
    read: Callable[[Collection[str]], Iterable[Row]]
    is_ragged: bool = False
    notes: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    passages: tuple[str, ...] = ()


def table_of_rows(where: str, rows: list[Row], **facts: Any) -> Table:
    """Return a table of rows that may have different columns, in the order of their first appearance."""
    columns = tuple(dict.fromkeys(name for _, row in rows for name in row))
    return Table(where, columns, lambda _: rows, is_ragged=True, **facts)
