"""Choice of the reader of a file, by its suffix."""

from __future__ import annotations

from pathlib import Path

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.paths import find_suffix
from embsweep.data.sources.readers.arrow import read_parquet, read_saved_dataset
from embsweep.data.sources.readers.delimited import read_delimited
from embsweep.data.sources.readers.json_records import read_json
from embsweep.data.sources.readers.table import Table


def open_table(
    path: Path, diagnostics: DiagnosticList, *, delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Open a file of rows or a saved data set; `delimiter` and `encoding` are detected if they are None."""
    suffix = find_suffix(path)
    if suffix is None:
        return read_saved_dataset(path, diagnostics)
    if suffix == ".parquet":
        return read_parquet(path, diagnostics)
    if suffix in (".csv", ".tsv"):
        return read_delimited(path, diagnostics, delimiter=delimiter, encoding=encoding)
    return read_json(path, diagnostics, encoding=encoding)
