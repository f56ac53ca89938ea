"""Reader of CSV and TSV files, as programs and spreadsheets write them: a header and one row per record.

Quoted fields may contain line ends. The delimiter is detected from the header, because spreadsheets write the one of
their locale; `csv.Sniffer` is not used, since commas in long texts mislead it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.encodings import read_table_text
from embsweep.data.sources.readers.table import Table

_FIELD_LIMIT = 2**31 - 1  # the csv module's default of 128 KiB is too small for long passages
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 20
BLANK = "rows of separators alone, passed over"


def read_delimited(
    path: Path, diagnostics: DiagnosticList, *, delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Read a CSV or TSV file.

    Args:
        path: File to read. A name that ends in `.tsv` makes a tab the first candidate for the delimiter, else a comma.
        diagnostics: Receives a diagnostic for each kind of invalid record.
        delimiter: Delimiter of the fields; None detects it.
        encoding: Encoding of the file; None detects it.
    """
    text, found = read_table_text(path, diagnostics, encoding)
    usual = "\t" if ".tsv" in path.name.lower() else ","
    first, rest = _split_hint(text)
    chosen = delimiter or first or _find_delimiter(rest, usual)
    records = _split_records(rest, path.name, chosen, diagnostics, skipped=0 if rest is text else 1)
    extents = [_measure_extent(record) for _, record in records]
    width = max(extents, default=0)  # a spreadsheet's used range may have empty columns at its end
    filled = [(place, record[:width]) for (place, record), extent in zip(records, extents, strict=True) if extent]
    where, header = filled[0] if filled else (f"{path.name}:1", [])
    header = [name.strip() for name in header]
    notes = []
    if found and not encoding:
        notes.append(f"{path.name}: read as {found}, which was detected (data.encoding names another)")
    if chosen != usual and not delimiter:
        notes.append(f"{path.name}: its fields are separated by {chosen!r}")

    def read(_: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for place, record in filled[1:]:
            if len(record) == len(header):
                yield place, dict(zip(header, record, strict=True))
                continue
            diagnostics.add(
                "wrong-length",
                place,
                f"has {len(record)} fields, but the header has {len(header)}",
                expected=f"{len(header)} fields; a field with a {chosen!r}, a quote or a line end must be quoted",
            )

    blank = len(records) - len(filled)
    return Table(where, tuple(header), read, notes=tuple(notes), counts=((BLANK, blank),) if blank else ())


def _measure_extent(record: list[str]) -> int:
    """Return the number of fields up to the last one that is not blank."""
    return next((number for number in range(len(record), 0, -1) if record[number - 1].strip()), 0)


def _split_hint(text: str) -> tuple[str | None, str]:
    """Return the delimiter of the line `sep=;` that Excel understands, and the text without that line."""
    line, end, rest = text.partition("\n")
    line = line.strip()
    return (line[-1], rest) if end and line.lower().startswith("sep=") and len(line) == 5 else (None, text)


def _find_delimiter(text: str, usual: str) -> str:
    """Return the delimiter that splits the first records into equally many fields, and into the most; else `usual`."""
    marks = sorted(_DELIMITERS, key=lambda mark: mark != usual)
    return max(marks, key=lambda mark: _count_fields(text, mark))


def _count_fields(text: str, delimiter: str) -> tuple[bool, int]:
    """Return whether most of the first records have as many fields as the header, at least two, and how many."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        records = [record for record in islice(reader, _SAMPLE) if any(record)]
    except csv.Error:
        return False, 0
    sizes = [len(record) for record in records]
    has_stray_quote = any(field.count('"') % 2 for record in records for field in record)  # a quoted field was split
    fields = sizes[0] if sizes else 0
    return fields > 1 and not has_stray_quote and 2 * sizes.count(fields) > len(sizes), fields


def _split_records(
    text: str, name: str, delimiter: str, diagnostics: DiagnosticList, *, skipped: int
) -> list[tuple[str, list[str]]]:
    """Return every record that is not an empty line, with its first line in the file, after `skipped` lines."""
    earlier_limit = csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows, begin = [], 1 + skipped
        for record in reader:
            if record:
                rows.append((f"{name}:{begin}", record))
            begin = reader.line_num + 1 + skipped
    except csv.Error as error:
        hint = "the rest of the file was not read; a quote in a quoted field must be doubled"
        diagnostics.add("bad-format", f"{name}:{begin}", f"cannot be read as a record: {error}", hint=hint)
    finally:
        csv.field_size_limit(earlier_limit)
    return rows
