"""Judgements of a BEIR folder: which file has those of which part, and what each of them says.

Each line of a TSV file is a judgement: query id, passage id and score, separated by tabs. A header line is optional. As
JSON lines or Parquet a judgement has the keys `query-id`, `corpus-id` and `score`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.encodings import read_text_file
from embsweep.data.sources.readers.open import open_table
from embsweep.data.sources.usual_names import find_usual

TRAIN, DEV, TEST = "train", "dev", "test"
PARTS: Mapping[str, tuple[str, ...]] = {TRAIN: ("train",), DEV: ("dev", "validation", "valid", "val"), TEST: ("test",)}
"""Part of a published set → names of its file."""

FIELDS = "query id, passage id, score, separated by tabs"
_SCORE = re.compile(r"[+-]?[0-9]{1,9}")
_HEADER_STARTS = ("query-id", "query_id", "qid", "query")
_HEADER_ENDS = ("score", "relevance", "rel", "label")
_SUFFIXES = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet")
_FOLDERS = ("qrels", "default", "data")
_KEYS = (("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "doc_id", "docid", "pid"), ("score", "relevance"))


@dataclass(frozen=True)
class Qrels:
    """Score and location (`name:line`) of each judgement, by (query id, passage id); a score above 0 is relevant.

    `repeated` is the number of lines that repeat an earlier judgement.
    """

    judged: Mapping[tuple[str, str], tuple[int, str]]
    repeated: int

    @cached_property
    def relevant(self) -> dict[tuple[str, str], str]:
        """Location of the relevant ones."""
        return {key: place for key, (score, place) in self.judged.items() if score > 0}


def find_qrels(folder: Path) -> dict[str, Path]:
    """Return part → file of judgements of a folder with `qrels/` (or, as MTEB has it, `default/` or `data/`)."""
    for inner in _FOLDERS:
        found = {
            part: path
            for part, names in PARTS.items()
            if (path := next((p for name in names for p in _list_candidates(folder / inner, name)), None))
        }
        if found:
            return found
    return {}


def _list_candidates(folder: Path, name: str) -> Iterator[Path]:
    yield from (path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file())
    yield from sorted(folder.glob(f"{name}-00000-of-00001.*"))


def read_qrels(path: Path, diagnostics: DiagnosticList) -> Qrels:
    """Read every judgement of the file; a score above 0 means relevant. Records a diagnostic for each invalid line."""
    judged: dict[tuple[str, str], tuple[int, str]] = {}
    lines, before = 0, len(diagnostics)
    is_tsv = path.name.removesuffix(".gz").endswith(".tsv")
    for where, fields in (_split_lines if is_tsv else _read_rows)(path, diagnostics):
        if _validate_fields(fields, where, diagnostics):
            query, passage, score = fields[0], fields[1], int(fields[2])
            known, _ = judged.setdefault((query, passage), (score, where))
            lines += 1
            if known != score:
                expected = f"{known}, or one line only"
                diagnostics.add("conflict", where, "conflicts with an earlier score", score, expected=expected)
    if not judged and len(diagnostics) == before:
        diagnostics.add("no-rows", path.name, "holds no judgements", expected=FIELDS)
    return Qrels(judged, lines - len(judged))


def _split_lines(path: Path, diagnostics: DiagnosticList) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(read_text_file(path, diagnostics).split("\n"), 1):
        fields = [part.strip() for part in line.split("\t")]
        if line.strip() and not (number == 1 and _is_header(fields)):
            yield f"{path.name}:{number}", fields


def _read_rows(path: Path, diagnostics: DiagnosticList) -> Iterator[tuple[str, list[str]]]:
    table = open_table(path, diagnostics)
    names = [next(iter(find_usual(usual, table.columns)), None) for usual in _KEYS]
    if None in names:
        if table.columns:
            expected = "the columns query-id, corpus-id and score"
            diagnostics.add(
                "missing-column", table.where, "holds no judgements", list(table.columns), expected=expected
            )
        return
    for where, row in table.read([name for name in names if name is not None]):
        yield where, [_to_text(row.get(name)) for name in names if name is not None]


def _to_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _is_header(fields: list[str]) -> bool:
    return fields[0].lower() in _HEADER_STARTS and fields[-1].lower() in _HEADER_ENDS


def _validate_fields(fields: list[str], where: str, diagnostics: DiagnosticList) -> bool:
    before, shown = len(diagnostics), "\t".join(fields)
    if len(fields) != 3:
        hint = None
        if len(shown.split()) == 4:
            hint = 'from TREC\'s form: awk \'{print $1 "\\t" $3 "\\t" $4}\' OLD > ' + where.split(":", maxsplit=1)[0]
        problem = f"has {len(fields)} fields"
        diagnostics.add("wrong-length", where, problem, shown, expected=FIELDS, hint=hint)
    elif not (fields[0] and fields[1]):
        diagnostics.add("missing-id", where, "an id is empty", shown)
    elif not _SCORE.fullmatch(fields[2]):
        expected = "an integer; above 0 means relevant"
        diagnostics.add("wrong-type", where, "the score is not an integer", fields[2], expected=expected)
    return len(diagnostics) == before
