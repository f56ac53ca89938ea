"""One file of pairs: JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from embsweep.config.data import FilesConfig
from embsweep.core.errors import did_you_mean
from embsweep.core.files import expand_home
from embsweep.data.collection import Collection, build_collection
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import Columns, parse_columns, read_pair, validate_header
from embsweep.data.sources.readers import read_objects, read_parquet, read_records

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_MAX_CANDIDATES = 10_000
"""Number of files in a folder that are compared with a misspelt name."""


def load_files(config: FilesConfig) -> Collection:
    """Load the pairs of `config.pairs` as one collection, named after the file.

    Raises:
        InputError: If the file cannot be read or its rows have errors; with a diagnostic for each.
    """
    diagnostics = DiagnosticList()
    path = expand_home(config.pairs, "data.pairs")
    columns = parse_columns(config, diagnostics)
    validate_path(path, "data.pairs", diagnostics)
    diagnostics.raise_if_any()
    pairs = [
        read_pair(row, columns, where, diagnostics)
        for where, row in _read_rows(path, columns, diagnostics)
        if validate_header(columns, row, where, diagnostics)
    ]
    if not pairs and not len(diagnostics):
        diagnostics.add("no-rows", path.name, "holds no rows", expected="one pair per row")
    diagnostics.raise_if_any()
    return build_collection(path.stem, [pair for pair in pairs if pair is not None])


def validate_path(path: Path, key: str, diagnostics: DiagnosticList) -> None:
    """Check that `path` is a file of a supported kind, judged by its suffix.

    Args:
        path: Path to check.
        key: Dotted configuration key, for the diagnostic.
        diagnostics: Receives a diagnostic if it is not.
    """
    try:
        if path.is_dir():
            diagnostics.add(
                "wrong-file-kind", key, "is a folder, not a file", str(path), expected=f"a file ({', '.join(SUFFIXES)})"
            )
        elif not path.exists():
            problem = "is a broken symbolic link" if path.is_symlink() else "there is no such file"
            diagnostics.add("missing-file", key, problem, str(path), hint=_suggest_path(path))
        elif not path.is_file():
            diagnostics.add("wrong-file-kind", key, "is not a regular file", str(path))
        elif path.suffix.lower() not in SUFFIXES:
            diagnostics.add(
                "wrong-file-kind", key, f"unknown kind of file '{path.suffix}'", str(path), expected=", ".join(SUFFIXES)
            )
    except OSError as error:  # a name that is too long, a folder that may not be entered
        diagnostics.add("unreadable", key, f"cannot be read: {error.strerror}", str(path))


def _suggest_path(path: Path) -> str:
    here = f"the path is relative to {Path.cwd()}" if not path.is_absolute() else "check the path"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; {here}"
    others = (entry.name for entry in islice(path.parent.iterdir(), _MAX_CANDIDATES) if entry.name != path.name)
    return did_you_mean(path.name, others) or here


def _read_rows(path: Path, columns: Columns, diagnostics: DiagnosticList) -> Iterator[tuple[str, Mapping[str, object]]]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return read_objects(path, diagnostics)
    if suffix == ".parquet":
        return read_parquet(path, columns, diagnostics)
    return read_records(path, "\t" if suffix == ".tsv" else ",", columns, diagnostics)
