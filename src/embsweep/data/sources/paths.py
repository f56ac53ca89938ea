"""Files that a configuration key names: single files, patterns, and folders that `datasets.save_to_disk` wrote."""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from embsweep.core.errors import did_you_mean
from embsweep.core.files import expand_home
from embsweep.data.collection import TEST, VALIDATION
from embsweep.data.diagnostics import DiagnosticList

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
_ACCEPTED = f"a file ({', '.join(SUFFIXES)}; {', '.join(TEXT_SUFFIXES)} also with .gz)"
_MAX_CANDIDATES = 10_000
"""Number of files in a folder that are compared with a misspelt name."""

_SPREADSHEET = (
    "save it in the spreadsheet as 'CSV UTF-8', or: "
    "libreoffice --headless --convert-to 'csv:Text - txt - csv (StarCalc):44,34,76' {name}"
)
_CONVERSIONS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), _SPREADSHEET),
    ".zip": "unzip {name}",
    ".bz2": "bunzip2 {name}",
    ".xz": "unxz {name}",
    ".zst": "zstd -d {name}",
    ".7z": "7z x {name}",
    ".tar": "tar xf {name}",
    ".tgz": "tar xf {name}",
    ".txt": "if it is a table with a header, rename it to .csv or .tsv; if it has JSON lines, to .jsonl",
    ".arrow": "name the folder that datasets.save_to_disk wrote, or: "
    "python -c \"import datasets; datasets.Dataset.from_file('{name}').to_parquet('pairs.parquet')\"",
    **dict.fromkeys(
        (".pkl", ".pickle"), "python -c \"import pandas; pandas.read_pickle('{name}').to_parquet('pairs.parquet')\""
    ),
    ".feather": "python -c \"import pandas; pandas.read_feather('{name}').to_parquet('pairs.parquet')\"",
    **dict.fromkeys((".yaml", ".yml"), "python -c \"import json, yaml; json.dump(yaml.safe_load(open('{name}')), "
    "open('pairs.json', 'w'))\""),
}  # fmt: skip
"""Suffix of a file that is not read → the command that turns it into one that is."""

_PARTS = {VALIDATION: ("validation", "dev", "valid", "val", "eval"), TEST: ("test",)}
"""Usual names of the parts of a `DatasetDict` that are held out."""


def find_files(names: Iterable[str], key: str, diagnostics: DiagnosticList) -> list[Path]:
    """Return the files and saved data sets that `names` stand for, each once; those of a pattern in order of name.

    Args:
        names: Paths and patterns (`folder/*.jsonl`).
        key: Dotted configuration key, for the diagnostics.
        diagnostics: Receives a diagnostic for each path that is not a file of a supported kind.
    """
    found: dict[Path, None] = {}
    for name in names:
        if "://" in name:
            hint = f"download it first: curl -LO {name}"
            diagnostics.add("wrong-file-kind", key, "is an address, not a file on this machine", name, hint=hint)
            continue
        path = expand_home(name, key)
        if _is_pattern(path):
            matching = sorted(match for match in _list_matches(path) if match.is_file())
            if not matching:
                problem = "no file matches this pattern"
                diagnostics.add("missing-file", key, problem, str(path), hint=f"the folder is relative to {Path.cwd()}")
        else:
            matching = [path]
        before = len(diagnostics)
        for match in matching:
            validate_path(match, key, diagnostics)
        found |= dict.fromkeys(matching if len(diagnostics) == before else [])
    return list(found)


def suggest_conversion(path: Path) -> str | None:
    """Return the command that turns a file of this name into one that is read; None if there is none."""
    conversion = _CONVERSIONS.get(path.suffix.lower())
    return conversion and conversion.replace("{name}", path.name)


def _list_matches(pattern: Path) -> Iterator[Path]:
    return Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))


def _is_pattern(path: Path) -> bool:
    try:
        return glob.has_magic(str(path)) and not path.exists() and not path.is_symlink()
    except OSError:
        return False


def find_parts(path: Path) -> list[str]:
    """Return the names of the parts of a folder that `DatasetDict.save_to_disk` wrote; none for another path."""
    try:
        parts = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []


def assign_parts(parts: Iterable[str]) -> dict[str | None, str]:
    """Return side → part for a `DatasetDict`: `train` is to be split (None), others are held out; unless it is alone.

    Empty if the parts do not say which is which.
    """
    names = {part.lower(): part for part in parts}
    if len(names) == 1:
        return {None: next(iter(names.values()))}
    found: dict[str | None, str] = {None: names["train"]} if "train" in names else {}
    for side, usual in _PARTS.items():
        part = next((names[name] for name in usual if name in names), None)
        found |= {side: part} if part is not None and found else {}
    return found


def validate_path(path: Path, key: str, diagnostics: DiagnosticList) -> None:
    """Check that `path` is a file of a supported kind, judged by its suffix, or a saved data set.

    Args:
        path: Path to check.
        key: Dotted configuration key, for the diagnostic.
        diagnostics: Receives a diagnostic if it is not.
    """
    try:
        if path.is_dir():
            if not is_saved_dataset(path):
                hint = _describe_folder(path, key)
                problem = "is a folder, not a file"
                diagnostics.add("wrong-file-kind", key, problem, str(path), expected=_ACCEPTED, hint=hint)
        elif not path.exists():
            problem = "is a broken symbolic link" if path.is_symlink() else "there is no such file"
            diagnostics.add("missing-file", key, problem, str(path), hint=_suggest_path(path))
        elif not path.is_file():
            diagnostics.add("wrong-file-kind", key, "is not a regular file", str(path))
        elif find_suffix(path) is None:
            problem, hint = f"unknown kind of file '{path.suffix}'", suggest_conversion(path)
            diagnostics.add("wrong-file-kind", key, problem, str(path), expected=_ACCEPTED, hint=hint)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        diagnostics.add("unreadable", key, f"cannot be read: {error.strerror}", str(path))


def find_suffix(path: Path) -> str | None:
    """Return the suffix that tells the form of a file, without `.gz`; None if the form is not supported."""
    name = path.name.lower()
    packed = name.endswith(".gz")
    name = name.removesuffix(".gz")
    return next((s for s in (TEXT_SUFFIXES if packed else SUFFIXES) if name.endswith(s) and name != s), None)


def is_saved_dataset(path: Path) -> bool:
    """Return whether `Dataset.save_to_disk` wrote this folder."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _describe_folder(path: Path, key: str) -> str | None:
    """Return how to use a folder: as a BEIR folder, by one of its parts, or by a pattern of its files."""
    names = [entry.name for entry in islice(path.iterdir(), _MAX_CANDIDATES)]
    if any(name.startswith("corpus") for name in names) and any(name.startswith("queries") for name in names):
        return f"a BEIR folder is read by: data=beir data.path={path}"
    if parts := find_parts(path):
        return "name one of its parts: " + " or ".join(f"{key}={path / part}" for part in parts)
    if key == "data.pairs" and (sides := _describe_sides(path, names)):
        return sides
    suffixes = Counter(suffix for name in names if (suffix := find_suffix(Path(name))))
    if suffixes:
        return f"{key}={path}/*{suffixes.most_common(1)[0][0]}"
    inside = next(islice(_list_inside(path), 1), None)
    return f"{key}={inside}" if inside else None


def _describe_sides(path: Path, names: Iterable[str]) -> str | None:
    """Return how to use a folder with `train.jsonl` and `test.jsonl`: a pattern would train on both."""
    by_part = {name.partition(".")[0]: name for name in sorted(names) if find_suffix(Path(name))}
    sides = assign_parts(by_part)
    keys = {None: "data.pairs", VALIDATION: "data.validation_pairs", TEST: "data.test_pairs"}
    return " ".join(f"{keys[side]}={path / by_part[part]}" for side, part in sides.items()) if len(sides) > 1 else None


def _list_inside(path: Path) -> Iterator[str]:
    for folder in sorted(entry for entry in islice(path.iterdir(), _MAX_CANDIDATES) if entry.is_dir()):
        for entry in islice(folder.iterdir(), _MAX_CANDIDATES):
            if suffix := find_suffix(entry):
                yield f"{folder}/*{suffix}"


def _suggest_path(path: Path) -> str:
    here = f"the path is relative to {Path.cwd()}" if not path.is_absolute() else "check the path"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; {here}"
    others = (entry.name for entry in islice(path.parent.iterdir(), _MAX_CANDIDATES) if entry.name != path.name)
    return did_you_mean(path.name, others) or here
