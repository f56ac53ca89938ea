"""Readers of Arrow's forms: Parquet files, and folders that `datasets.save_to_disk` wrote. Rows count from 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.core.errors import describe_exception
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sizes import fits
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
        # Dictionaries stay dictionaries: a text that occurs a million times is one in memory until its rows are read.
        file = pq.ParquetFile(path, read_dictionary=_find_texts(pq.ParquetFile(path).schema))
        present = list(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column name that is not UTF-8
        _report_format(path, error, diagnostics)
        return Table(path.name, (), lambda _: ())

    def read(names: Collection[str]) -> Iterator[Row]:
        wanted = [name for name in present if name in names]
        if not fits(_count_stored(file.metadata, wanted), path.name, diagnostics):
            return
        try:
            table = file.read().select(wanted)
        except (pa.ArrowException, OSError, ValueError) as error:
            _report_format(path, error, diagnostics)
            return
        if not fits(sum(map(_count_bytes, table.columns)), path.name, diagnostics):
            return
        if table.num_rows != file.metadata.num_rows:
            problem = f"holds {table.num_rows:,} rows; its metadata has {file.metadata.num_rows:,}"
            diagnostics.add("wrong-length", path.name, problem, hint="write the file again")
            return
        for number, row in enumerate(zip(*table.columns, strict=True), 1):
            values = map(_read_value, row)
            yield f"{path.name}:{number}", dict(zip(table.column_names, values, strict=True))

    return Table(path.name, tuple(present), read)


def _find_texts(schema: Any) -> list[str]:
    """Return the paths of all columns of texts, inside lists and objects too."""
    columns = (schema.column(index) for index in range(len(schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _count_stored(metadata: Any, names: Collection[str]) -> int:
    """Return the uncompressed bytes of columns as the file states them: a repeated text counts once."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    chunks = (group.column(index) for group in groups for index in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.partition(".")[0] in names)


def _fits_saved(folder: Path, diagnostics: DiagnosticList) -> bool:
    """Return whether the texts of a saved data set fit into memory; `datasets` expands its dictionaries on loading.

    A file that is not Arrow's is left to `datasets`, which names it.
    """
    import pyarrow as pa

    total = 0
    for file in sorted(folder.glob("*.arrow")):
        with suppress(pa.ArrowException, OSError), pa.memory_map(str(file)) as source:
            for batch in pa.ipc.open_stream(source):
                total += sum(map(_count_bytes, batch.columns))
                if not fits(total, folder.name, diagnostics):
                    return False
    return True


def _count_bytes(column: Any) -> int:
    """Return the bytes of a column's values; a text that is stored once counts as often as it occurs."""
    import pyarrow as pa
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    if isinstance(column, pa.ChunkedArray):
        return sum(map(_count_bytes, column.chunks))
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_map(column.type):
        return _count_bytes(column.keys) + _count_bytes(column.items)
    if pa.types.is_nested(column.type):
        parts = column.flatten()
        return sum(map(_count_bytes, parts if isinstance(parts, list) else [parts]))
    return int(column.nbytes)


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

    if not _fits_saved(path, diagnostics):
        return Table(path.name, (), lambda _: ())
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
