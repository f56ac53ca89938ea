"""Parquet files: rows are numbered from 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.data.columns import Columns, check_header, check_repeated
from embsweep.data.faults import FaultList

_NO_VALUE = (ValueError, ArithmeticError, LookupError, ImportError, TypeError)
"""What Arrow raises for bytes that are no text, dates after the year 9999, time zones that are not known, …"""


@dataclass(frozen=True, repr=False)
class Unreadable:
    """Stands for a value that Python has no value for; `kind` is Arrow's name of its type."""

    kind: str

    def __repr__(self) -> str:
        return f"a value of type {self.kind}"


def read_parquet(path: Path, columns: Columns, faults: FaultList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:row`, values of the columns asked for); a file that is no Parquet is one fault."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
        present = list(file.schema_arrow.names)
        check_repeated(present, path.name, faults)
        if len(faults) or not check_header(columns, present, path.name, faults):
            return
        names = list(columns.by_key.values())
        table = file.read().select(names)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column's name that is not UTF-8
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        faults.add("bad-format", path.name, f"cannot be read as Parquet: {first_line}", accepted="a Parquet file")
        return
    if table.num_rows != file.metadata.num_rows:
        problem = f"holds {table.num_rows:,} rows and says that it has {file.metadata.num_rows:,}"
        faults.add("wrong-length", path.name, problem, fix="write the file again")
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
