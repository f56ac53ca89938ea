"""Readers of the supported file formats: Parquet, CSV and TSV, JSON lines. Each yields rows by column name.

Parquet rows are numbered from 1. A CSV or TSV file is a header and one row per record; quoted fields may contain line
ends. A JSON lines file has one object per line.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.core.errors import describe_exception
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import Columns, validate_header, validate_unique
from embsweep.data.text import read_text_file

_CONVERSION_ERRORS = (ValueError, ArithmeticError, LookupError, ImportError, TypeError)
"""Exceptions of Arrow for invalid UTF-8, dates after the year 9999, unknown time zones, …"""


@dataclass(frozen=True, repr=False)
class Unreadable:
    """Placeholder of a value that cannot be converted to Python; `kind` is Arrow's name of its type."""

    kind: str

    def __repr__(self) -> str:
        return f"a value of type {self.kind}"


def read_parquet(path: Path, columns: Columns, diagnostics: DiagnosticList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a Parquet file.

    Args:
        path: File to read.
        columns: Configured columns.
        diagnostics: Receives a diagnostic if the file is not Parquet or not complete, and for columns that are missing
            or not unique.

    Yields:
        (`name:row`, values of the configured columns by name).
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
        present = list(file.schema_arrow.names)
        validate_unique(present, path.name, diagnostics)
        if len(diagnostics) or not validate_header(columns, present, path.name, diagnostics):
            return
        table = file.read().select(list(columns.values()))
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column name that is not UTF-8
        problem = f"cannot be read as Parquet: {describe_exception(error)}"
        diagnostics.add("bad-format", path.name, problem, expected="a Parquet file")
        return
    if table.num_rows != file.metadata.num_rows:
        problem = f"holds {table.num_rows:,} rows; its metadata has {file.metadata.num_rows:,}"
        diagnostics.add("wrong-length", path.name, problem, hint="write the file again")
        return
    for number, row in enumerate(zip(*table.columns, strict=True), 1):
        values = map(_read_value, row)
        yield f"{path.name}:{number}", dict(zip(table.column_names, values, strict=True))


def _read_value(scalar: Any) -> Any:
    """Convert one value to Python, or to a placeholder, which the check of the row then reports as not text.

    A text that is not UTF-8 is returned as bytes.
    """
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return bytes(error.object)
    except _CONVERSION_ERRORS:
        return Unreadable(str(scalar.type))


_FIELD_LIMIT = 2**31 - 1  # the csv module's default of 128 KiB is too small for long passages


def read_records(
    path: Path, delimiter: str, columns: Columns, diagnostics: DiagnosticList
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a CSV or TSV file.

    Args:
        path: File to read.
        delimiter: Separator of the fields.
        columns: Configured columns.
        diagnostics: Receives a diagnostic for each invalid record, and for columns that are missing or not unique.

    Yields:
        (`name:line`, values by column name); `line` is the first line of the record in the file.
    """
    records = _split_records(read_text_file(path, diagnostics), path.name, delimiter, diagnostics)
    where, header = next(records, (f"{path.name}:1", []))
    if not header:
        return
    validate_unique(header, where, diagnostics)
    if not (
        _validate_delimiter(header, delimiter, where, diagnostics)
        and validate_header(columns, header, where, diagnostics)
    ):
        return
    for place, record in records:
        if len(record) == len(header):
            yield place, dict(zip(header, record, strict=True))
        else:
            diagnostics.add(
                "wrong-length",
                place,
                f"has {len(record)} fields, but the header has {len(header)}",
                expected=f"{len(header)} fields; a field with a {delimiter!r}, a quote or a line end must be quoted",
            )


def _split_records(
    text: str, name: str, delimiter: str, diagnostics: DiagnosticList
) -> Iterator[tuple[str, list[str]]]:
    """Return every record that is not an empty line, with the location of its first line."""
    earlier_limit = csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows, begin = [], 1
        for record in reader:
            if record:
                rows.append((f"{name}:{begin}", record))
            begin = reader.line_num + 1
    except csv.Error as error:
        hint = "the rest of the file was not read; a quote in a quoted field must be doubled"
        diagnostics.add("bad-format", f"{name}:{begin}", f"cannot be read as a record: {error}", hint=hint)
    finally:
        csv.field_size_limit(earlier_limit)
    return iter(rows)


def _validate_delimiter(header: list[str], delimiter: str, where: str, diagnostics: DiagnosticList) -> bool:
    """Check the delimiter: record only this diagnostic if the header is one column that contains another separator."""
    others = [mark for mark in (";", "\t", ",", "|") if mark != delimiter and mark in header[0]]
    if len(header) > 1 or not others:
        return True
    diagnostics.add(
        "wrong-separator", where, f"columns seem to be separated by {others[0]!r}", header[0], expected=repr(delimiter)
    )
    return False


class _RepeatedKey(ValueError):
    """A JSON object has a key more than once."""


def read_objects(path: Path, diagnostics: DiagnosticList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:line`, object) of every line that is a JSON object; record a diagnostic for every other line.

    Lines of white space are skipped. Only a line feed ends a line: U+2028 and similar characters may be part of a JSON
    text.
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
        diagnostics.add("duplicate-column", where, f"key '{error}' occurs more than once", expected="each key once")
    except json.JSONDecodeError as error:
        diagnostics.add(
            "bad-format",
            where,
            f"is not valid JSON: {error.msg} at column {error.colno}",
            line,
            hint="one JSON object per line",
        )
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand nested lists
        diagnostics.add("bad-format", where, f"cannot be read as JSON: {error}", line)
    else:
        if isinstance(row, dict):
            return row
        diagnostics.add(
            "wrong-type",
            where,
            "is not a JSON object",
            line,
            expected='an object such as {"anchor": …, "positive": …}',
            hint="one JSON object per line; `jq -c '.[]'` converts an array to such lines",
        )
    return None


def _to_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in items).items() if count > 1]
    if repeated:
        raise _RepeatedKey(repeated[0])
    return dict(items)
