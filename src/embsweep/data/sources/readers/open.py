"""Choice of the reader of a file, by its suffix."""

from __future__ import annotations

from pathlib import Path

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.encodings import read_beginning
from embsweep.data.sources.paths import find_suffix
from embsweep.data.sources.readers.arrow import read_parquet, read_saved_dataset
from embsweep.data.sources.readers.delimited import read_delimited
from embsweep.data.sources.readers.json_records import read_json
from embsweep.data.sources.readers.table import Table, table_of_rows

_OTHER_FORMS = {
    b"PK\x03\x04": ("a spreadsheet or a ZIP archive", "save it in the spreadsheet as 'CSV UTF-8', or: unzip {name}"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet of Excel 97", "save it in the spreadsheet as 'CSV UTF-8'"),
    b"%PDF": ("a PDF document", None),
    b"\x1f\x8b": ("compressed", "mv {name} {name}.gz"),
    b"PAR1": ("a Parquet file", "mv {name} {stem}.parquet"),
    b"version https://git-lfs": ("a pointer to a file in Git LFS", "git lfs pull"),
    b"<!DOCTYPE": ("a web page", "download the file itself: the link to its raw content"),
    b"<html": ("a web page", "download the file itself: the link to its raw content"),
}
"""Beginning of a file whose content is not what its name says → what it is, and the command that helps."""


def open_table(
    path: Path, diagnostics: DiagnosticList, *, delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Open a file of rows or a saved data set; `delimiter` and `encoding` are detected if they are None."""
    suffix = find_suffix(path)
    if suffix is None:
        return read_saved_dataset(path, diagnostics)
    if _report_other_form(path, suffix, diagnostics):
        return table_of_rows(path.name, [])
    if suffix == ".parquet":
        return read_parquet(path, diagnostics)
    if suffix in (".csv", ".tsv"):
        return read_delimited(path, diagnostics, delimiter=delimiter, encoding=encoding)
    return read_json(path, diagnostics, encoding=encoding)


def _report_other_form(path: Path, suffix: str, diagnostics: DiagnosticList) -> bool:
    """Record a diagnostic if the content is of another form than the name says; return whether it is."""
    data = read_beginning(path)
    start = next((start for start in _OTHER_FORMS if data.startswith(start)), None)
    if start is None or (start == b"PAR1" and suffix == ".parquet"):
        return False
    form, hint = _OTHER_FORMS[start]
    hint = hint and hint.format(name=path.name, stem=path.stem)
    problem = f"its content is not that of a {suffix} file, but {form}"
    diagnostics.add("wrong-file-kind", path.name, problem, hint=hint)
    return True
