"""CSV and TSV: a header, then one row a record; quoted fields may hold line ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from embsweep.data.columns import Columns, check_header, check_repeated
from embsweep.data.faults import FaultList
from embsweep.data.text import read_text_file

_FIELD_LIMIT = 2**31 - 1  # the library's default of 128 KiB is less than a long passage


def read_records(
    path: Path, delimiter: str, columns: Columns, faults: FaultList
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (`name:line`, row by column name); `line` is where the record begins in the file."""
    records = _split_records(read_text_file(path, faults), path.name, delimiter, faults)
    where, header = next(records, (f"{path.name}:1", []))
    if not header:
        return
    check_repeated(header, where, faults)
    if not (_check_delimiter(header, delimiter, where, faults) and check_header(columns, header, where, faults)):
        return
    for place, record in records:
        if len(record) == len(header):
            yield place, dict(zip(header, record, strict=True))
        else:
            faults.add(
                "wrong-length",
                place,
                f"has {len(record)} fields where the header has {len(header)}",
                accepted=f"{len(header)} fields; a field with a {delimiter!r}, a quote or a line end stands in quotes",
            )


def _split_records(text: str, name: str, delimiter: str, faults: FaultList) -> Iterator[tuple[str, list[str]]]:
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
        fix = "the rest of the file was not read; a quote inside a quoted field is written twice"
        faults.add("bad-format", f"{name}:{begin}", f"is not a record that can be read: {error}", fix=fix)
    finally:
        csv.field_size_limit(earlier_limit)
    return iter(rows)


def _check_delimiter(header: list[str], delimiter: str, where: str, faults: FaultList) -> bool:
    """A header of one column never suffices; where another separator stands in it, that is the one fault to tell."""
    others = [mark for mark in (";", "\t", ",", "|") if mark != delimiter and mark in header[0]]
    if len(header) > 1 or not others:
        return True
    faults.add(
        "wrong-separator", where, f"columns seem to be separated by {others[0]!r}", header[0], accepted=repr(delimiter)
    )
    return False
