"""From rows of named values to pairs: which columns are asked for, and what each row must hold in them.

Parquet files: rows are numbered from 1.

CSV and TSV: a header, then one row a record; quoted fields may hold line ends.

JSON lines: one object a line.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from embsweep.core.errors import did_you_mean
from embsweep.data.collection import Pair
from embsweep.data.issues import DiagnosticList
from embsweep.data.text import check_text, read_text_file

_LISTED = 30
_LONGEST_NAME = 80
_LIKENED = 1000
"""Columns among which a misspelt one is sought: a broken file may seem to have a million."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold question, passage and, perhaps, hard negative."""

    anchor: str
    positive: str
    negative: str | None = None

    @property
    def by_key(self) -> dict[str, str]:
        """Configuration key under `data` → name of its column."""
        asked = {"anchor": self.anchor, "positive": self.positive, "negative": self.negative}
        return {key: name for key, name in asked.items() if name is not None}


def check_distinct(columns: Columns, diagnostics: DiagnosticList) -> None:
    """Record a fault where one column is asked for twice."""
    names = list(columns.by_key.values())
    for position, (key, name) in enumerate(columns.by_key.items()):
        if name in names[:position]:
            diagnostics.add(
                "duplicate-column",
                f"data.{key}",
                "names a column that is already used",
                name,
                expected="another column",
            )


def check_header(columns: Columns, present: Sized[str], where: str, diagnostics: DiagnosticList) -> bool:
    """Whether all columns asked for are `present`; each that is not is a fault at `where`."""
    missing = [(key, name) for key, name in columns.by_key.items() if name not in present]
    for key, name in missing:
        problem = f"there is no column '{name}' (data.{key})"
        if diagnostics.is_full:
            diagnostics.add("missing-column", where, problem)
            continue
        guess = did_you_mean(name, [c for c in islice(present, _LIKENED) if c not in columns.by_key.values()])
        hint = guess or f"set data.{key} to the name of one of these columns"
        diagnostics.add("missing-column", where, problem, expected=f"columns here: {list_names(present)}", hint=hint)
    return not missing


def list_names(present: Sized[str]) -> str:
    """The first names, each quoted and cut short; a file of the wrong kind has names as long as itself."""
    names = [
        repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…") for name in islice(present, _LISTED)
    ]
    more = len(present) - len(names)
    return ", ".join([*names, *([f"and {more:,} more"] if more > 0 else [])]) or "none"


def check_repeated(present: list[str], where: str, diagnostics: DiagnosticList) -> None:
    """Record each column name that stands more than once: which of them is meant cannot be known."""
    for name, count in Counter(present).items():
        if count > 1:
            diagnostics.add("duplicate-column", where, f"column '{name}' stands there {count} times", expected="once")


def read_pair(row: Mapping[str, object], columns: Columns, where: str, diagnostics: DiagnosticList) -> Pair | None:
    """The row as a pair of stripped texts, or None after recording what is wrong with it."""
    texts = {key: check_text(row[name], where, name, diagnostics) for key, name in columns.by_key.items()}
    anchor, positive = texts["anchor"], texts["positive"]
    if anchor is None or positive is None or None in texts.values():
        return None
    return Pair(anchor, positive, texts.get("negative"), where)


_NO_VALUE = (ValueError, ArithmeticError, LookupError, ImportError, TypeError)
"""What Arrow raises for bytes that are no text, dates after the year 9999, time zones that are not known, …"""


@dataclass(frozen=True, repr=False)
class Unreadable:
    """Stands for a value that Python has no value for; `kind` is Arrow's name of its type."""

    kind: str

    def __repr__(self) -> str:
        return f"a value of type {self.kind}"


def read_parquet(path: Path, columns: Columns, diagnostics: DiagnosticList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:row`, values of the columns asked for); a file that is no Parquet is one fault."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
        present = list(file.schema_arrow.names)
        check_repeated(present, path.name, diagnostics)
        if len(diagnostics) or not check_header(columns, present, path.name, diagnostics):
            return
        names = list(columns.by_key.values())
        table = file.read().select(names)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column's name that is not UTF-8
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        diagnostics.add("bad-format", path.name, f"cannot be read as Parquet: {first_line}", expected="a Parquet file")
        return
    if table.num_rows != file.metadata.num_rows:
        problem = f"holds {table.num_rows:,} rows and says that it has {file.metadata.num_rows:,}"
        diagnostics.add("wrong-length", path.name, problem, hint="write the file again")
        return
    values = [_read_column(table.column(name)) for name in names]
    for number, row in enumerate(zip(*values, strict=True), 1):
        yield f"{path.name}:{number}", dict(zip(names, row, strict=True))


def _read_column(column: Any) -> list[Any]:
    """Python values, or what stands for them; the row check names what is no text."""
    try:
        return list(column.to_pylist())
    except _NO_VALUE:
        return [_read_value(scalar) for scalar in column]


def _read_value(scalar: Any) -> Any:
    """A text that is not UTF-8 becomes bytes."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return bytes(error.object)
    except _NO_VALUE:
        return Unreadable(str(scalar.type))


_FIELD_LIMIT = 2**31 - 1  # the library's default of 128 KiB is less than a long passage


def read_records(
    path: Path, delimiter: str, columns: Columns, diagnostics: DiagnosticList
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (`name:line`, row by column name); `line` is where the record begins in the file."""
    records = _split_records(read_text_file(path, diagnostics), path.name, delimiter, diagnostics)
    where, header = next(records, (f"{path.name}:1", []))
    if not header:
        return
    check_repeated(header, where, diagnostics)
    if not (
        _check_delimiter(header, delimiter, where, diagnostics) and check_header(columns, header, where, diagnostics)
    ):
        return
    for place, record in records:
        if len(record) == len(header):
            yield place, dict(zip(header, record, strict=True))
        else:
            diagnostics.add(
                "wrong-length",
                place,
                f"has {len(record)} fields where the header has {len(header)}",
                expected=f"{len(header)} fields; a field with a {delimiter!r}, a quote or a line end stands in quotes",
            )


def _split_records(
    text: str, name: str, delimiter: str, diagnostics: DiagnosticList
) -> Iterator[tuple[str, list[str]]]:
    """Every record that is not an empty line, with the place where it begins."""
    earlier_limit = csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows, begin = [], 1
        for record in reader:
            if record:
                rows.append((f"{name}:{begin}", record))
            begin = reader.line_num + 1
    except csv.Error as error:
        hint = "the rest of the file was not read; a quote inside a quoted field is written twice"
        diagnostics.add("bad-format", f"{name}:{begin}", f"is not a record that can be read: {error}", hint=hint)
    finally:
        csv.field_size_limit(earlier_limit)
    return iter(rows)


def _check_delimiter(header: list[str], delimiter: str, where: str, diagnostics: DiagnosticList) -> bool:
    """A header of one column never suffices; where another separator stands in it, that is the one fault to tell."""
    others = [mark for mark in (";", "\t", ",", "|") if mark != delimiter and mark in header[0]]
    if len(header) > 1 or not others:
        return True
    diagnostics.add(
        "wrong-separator", where, f"columns seem to be separated by {others[0]!r}", header[0], expected=repr(delimiter)
    )
    return False


class _RepeatedKey(ValueError):
    pass


def read_objects(path: Path, diagnostics: DiagnosticList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:line`, object) of every line that holds one; record a fault for every other line.

    Lines of white space hold nothing and are passed over. Lines end with a line feed only: U+2028 and its
    kin may stand inside a JSON text.
    """
    for number, line in enumerate(read_text_file(path, diagnostics).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        row = _parse_line(line, where, diagnostics)
        if row is not None:
            yield where, row


def _parse_line(line: str, where: str, diagnostics: DiagnosticList) -> dict[str, Any] | None:
    try:
        row = json.loads(line, object_pairs_hook=_to_object)
    except _RepeatedKey as error:
        diagnostics.add(
            "duplicate-column", where, f"key '{error}' stands there more than once", expected="each key once"
        )
    except json.JSONDecodeError as error:
        diagnostics.add(
            "bad-format",
            where,
            f"is not valid JSON: {error.msg} at column {error.colno}",
            line,
            hint="one JSON object a line",
        )
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand nested lists
        diagnostics.add("bad-format", where, f"is not JSON that can be read: {error}", line)
    else:
        if isinstance(row, dict):
            return row
        hint = "one JSON object a line; `jq -c '.[]'` turns one array into such lines"
        diagnostics.add(
            "wrong-type",
            where,
            "is not a JSON object",
            line,
            expected='an object such as {"anchor": …, "positive": …}',
            hint=hint,
        )
    return None


def _to_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        counts = Counter(name for name, _ in items)
        raise _RepeatedKey(next(name for name, count in counts.items() if count > 1))
    return found
