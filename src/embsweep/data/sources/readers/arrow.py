"""Readers of Arrow's forms: Parquet files, and folders that `datasets.save_to_disk` wrote. Rows count from 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.core.errors import describe_exception
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.readers.table import Row, Table

_CONVERSION_ERRORS = (ValueError, ArithmeticError, LookupError, ImportError, TypeError)
"""Exceptions of Arrow for invalid UTF-8, dates after the year 9999, unknown time zones, …"""


@dataclass(frozen=True, repr=False)
class Unreadable:
    """Placeholder of a value that cannot be converted to Python; `kind` is Arrow's name of its type."""

    kind: str

    def __repr__(self) -> str:
        return f"a value of type {self.kind}"


def read_parquet(path: Path, diagnostics: DiagnosticList) -> Table:
    """Read a Parquet file; only the columns that are asked for are kept.

    Args:
        path: File to read.
        diagnostics: Receives a diagnostic if the file is not Parquet or not complete.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
        present = list(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column name that is not UTF-8
        _report_format(path, error, diagnostics)
        return Table(path.name, (), lambda _: ())

    def read(names: Collection[str]) -> Iterator[Row]:
        try:
            table = file.read().select([name for name in present if name in names])
        except (pa.ArrowException, OSError, ValueError) as error:
            _report_format(path, error, diagnostics)
            return
        if table.num_rows != file.metadata.num_rows:
            problem = f"holds {table.num_rows:,} rows; its metadata has {file.metadata.num_rows:,}"
            diagnostics.add("wrong-length", path.name, problem, hint="write the file again")
            return
        for number, row in enumerate(zip(*table.columns, strict=True), 1):
            values = map(_read_value, row)
            yield f"{path.name}:{number}", dict(zip(table.column_names, values, strict=True))

    return Table(path.name, tuple(present), read)


def _report_format(path: Path, error: BaseException, diagnostics: DiagnosticList) -> None:
    problem = f"cannot be read as Parquet: {describe_exception(error)}"
    diagnostics.add("bad-format", path.name, problem, expected="a Parquet file")


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


def read_saved_dataset(path: Path, diagnostics: DiagnosticList) -> Table:
    """Read a folder that `Dataset.save_to_disk` wrote."""
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
        present: Sequence[str] = dataset.column_names
    except Exception as error:  # the library raises some thirty types
        problem = f"cannot be read as a saved data set: {describe_exception(error)}"
        diagnostics.add("bad-format", path.name, problem, expected="a folder that datasets.save_to_disk wrote")
        return Table(path.name, (), lambda _: ())

    def read(names: Collection[str]) -> Iterator[Row]:
        chosen = dataset.select_columns([name for name in present if name in names])
        return ((f"{path.name}:{number}", row) for number, row in enumerate(chosen, 1))

    return Table(path.name, tuple(present), read)
