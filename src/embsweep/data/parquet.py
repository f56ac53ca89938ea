"""Parquet files: rows are numbered from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embsweep.data.columns import Columns, check_header, check_repeated
from embsweep.data.faults import FaultList


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
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        faults.add(path.name, f"cannot be read as Parquet: {first_line}", accepted="a Parquet file")
        return
    values = [_read_column(table.column(name)) for name in names]
    for number, row in enumerate(zip(*values, strict=True), 1):
        yield f"{path.name}:{number}", dict(zip(names, row, strict=True))


def _read_column(column: Any) -> list[Any]:
    """Python values; a text that is not UTF-8 stays bytes, which the row check then names."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_read_value(scalar) for scalar in column]


def _read_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
