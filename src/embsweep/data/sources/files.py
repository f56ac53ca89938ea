"""Source `files`: files of pairs, optionally with files of held-out pairs and of further passages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from embsweep.config.data import FilesConfig
from embsweep.core.files import expand_home
from embsweep.data.collection import TEST, VALIDATION, Collection, Pair, build_collection
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import choose_columns, find_top, list_names, validate_config, validate_unique
from embsweep.data.sources.paths import assign_parts, find_files, find_parts, find_suffix
from embsweep.data.sources.readers.open import open_table
from embsweep.data.sources.readers.table import Table
from embsweep.data.sources.rows import RowReader, check_labels, find_inner_labels, find_label_columns, read_passage
from embsweep.data.sources.usual_names import PASSAGE_TEXTS, find_usual

_BLANK = "passages of data.corpus without text, passed over"


def load_files(config: FilesConfig) -> Collection:
    """Load the pairs of all files as one collection, named after the first file of `config.pairs`.

    Raises:
        InputError: If a file cannot be read or its rows have errors; with a diagnostic for each kind.
    """
    loader = _Loader(config)
    validate_config(config, loader.diagnostics)
    files = _find_pairs(config, loader.diagnostics)
    corpus = find_files(config.corpus or (), "data.corpus", loader.diagnostics)
    loader.diagnostics.raise_if_any()
    pairs = [pair for side, paths in files.items() for path in paths for pair in loader.read_pairs(path, side)]
    passages = [*loader.passages, *(text for path in corpus for text in loader.read_passages(path))]
    loader.diagnostics.raise_if_any()
    notes = list(dict.fromkeys(loader.notes))
    if fixed := [side for side in (VALIDATION, TEST) if side in files]:
        notes.append(f"given by the data, not cut off by data.split: {' and '.join(fixed)}")
    held_out = assign_parts(path.name.partition(".")[0] for path in files[None])
    notes += [
        f"the file {part!r} is split as all others; data.{side}_pairs=… holds it out"
        for side, part in held_out.items()
        if side is not None
    ]
    name = _name([Path(name) for name in config.pairs] if find_parts(Path(config.pairs[0])) else files[None])
    collection = build_collection(name, pairs, passages, notes)
    counts = {**loader.counts, **dict(collection.merged)}
    return replace(collection, merged=tuple((what, count) for what, count in counts.items() if count))


def _find_pairs(config: FilesConfig, diagnostics: DiagnosticList) -> dict[str | None, list[Path]]:
    """Return the files of each side; those to be split are under None. A saved `DatasetDict` brings its own sides."""
    named = {VALIDATION: config.validation_pairs, TEST: config.test_pairs}
    files: dict[str | None, list[Path]] = {}
    folder = expand_home(config.pairs[0], "data.pairs")
    if len(config.pairs) == 1 and (parts := assign_parts(find_parts(folder))):
        files = {side: [folder / part] for side, part in parts.items()}
    else:
        files[None] = find_files(config.pairs, "data.pairs", diagnostics)
    for side, names in named.items():
        if names is not None:
            files[side] = find_files(names, f"data.{side}_pairs", diagnostics)
    for path in set(files.get(VALIDATION, ())).intersection(files.get(TEST, ())):
        problem, expected = "is in data.test_pairs, too", "another file, or null: data.split cuts one off"
        diagnostics.add("conflict", "data.validation_pairs", problem, str(path), expected=expected)
    return files


def _name(paths: Sequence[Path]) -> str:
    """Return the name of the data: of the first file, without its suffix, and how many others there are."""
    stem = paths[0].name.removesuffix(".gz")
    stem = stem.removesuffix(Path(stem).suffix) if find_suffix(paths[0]) else stem
    return stem if len(paths) == 1 else f"{stem} and {len(paths) - 1} more"


class _Loader:
    """Reads files one by one; collects diagnostics, notes, counts and the passages that only belong to the corpus."""

    def __init__(self, config: FilesConfig) -> None:
        self._config = config
        self.diagnostics = DiagnosticList()
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()
        self.passages: list[str] = []

    def read_pairs(self, path: Path, side: str | None) -> list[Pair]:
        """Return the pairs of a file; `side` is the side that it belongs to, None to split it."""
        diagnostics, before = self.diagnostics, len(self.diagnostics)
        table = self._open(path)
        if not table.columns and len(diagnostics) == before:
            diagnostics.add("no-rows", path.name, "holds no rows", expected="one pair per row")
        read = len(diagnostics)
        validate_unique(list(table.columns), table.where, diagnostics)
        if not table.columns or len(diagnostics) > read:
            return []
        columns, notes = choose_columns(self._config, table.columns, table.where, diagnostics)
        if columns is None:
            return []
        labels = find_label_columns(columns, table.columns)
        used = {find_top(name, table.columns) for name in columns.names} | set(labels)
        rows = list(table.read([name for name in table.columns if name in used]))
        labels += find_inner_labels(columns, rows)
        self.notes += [*notes, *check_labels(labels, rows, diagnostics)]
        reader = RowReader(columns, self._config.min_score, diagnostics)
        pairs = [pair for where, row in rows for pair in reader.read(where, row, side)]
        self.counts += reader.counts
        if not pairs and len(diagnostics) == before:
            if rows:
                problem = f"leaves no pair of {path.name}"
                diagnostics.add("no-rows", "data.min_score", problem, self._config.min_score, expected="a lower number")
            else:
                diagnostics.add("no-rows", path.name, "holds no rows", expected="one pair per row")
        return pairs

    def read_passages(self, path: Path) -> Iterator[str]:
        """Yield the passages of a file of `data.corpus`."""
        table = self._open(path)
        usual = find_usual(PASSAGE_TEXTS, table.columns)
        name = self._config.positive if self._config.positive in table.columns else next(iter(usual), None)
        if name is None:
            if table.columns:
                self.diagnostics.add(
                    "missing-column",
                    table.where,
                    "there is no column of passages (data.corpus)",
                    expected=f"a column {list_names(dict.fromkeys((self._config.positive, *PASSAGE_TEXTS)))}",
                    hint=f"columns here: {list_names(table.columns)}",
                )
            return
        if usual and name != self._config.positive:
            self.notes.append(f"{path.name}: its passages are the column {name!r}")
        title = "title" if "title" in table.columns and name == "text" else None
        for where, row in table.read([name, *([title] if title else [])]):
            text = read_passage(row, name, title, where, self.diagnostics)
            if text is None:
                self.counts[_BLANK] += 1
            else:
                yield text

    def _open(self, path: Path) -> Table:
        config = self._config
        table = open_table(path, self.diagnostics, delimiter=config.delimiter_character, encoding=config.encoding)
        self.notes += table.notes
        self.counts += Counter(dict(table.counts))
        self.passages += table.passages
        return table
