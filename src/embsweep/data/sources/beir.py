"""Source `beir`: a folder with corpus.jsonl, queries.jsonl and qrels.

Each line of the qrels is a judgement: query id, passage id and score, separated by tabs. A header line is optional.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from embsweep.config.data import BeirConfig
from embsweep.core.codes import Code
from embsweep.core.files import expand_home
from embsweep.data.collection import Collection, Pair, build_collection, count_duplicates
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import list_names
from embsweep.data.sources.readers import read_objects
from embsweep.data.text import is_blank, parse_text, read_text_file

_SCORE = re.compile(r"[+-]?[0-9]{1,9}")
_FIELDS = "query id, passage id, score, separated by tabs"
_HEADER_STARTS = ("query-id", "query_id", "qid", "query")
_HEADER_ENDS = ("score", "relevance", "rel", "label")


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


def read_qrels(path: Path, diagnostics: DiagnosticList) -> Qrels:
    """Read every judgement of the file; a score above 0 means relevant. Records a diagnostic for each invalid line."""
    judged: dict[tuple[str, str], tuple[int, str]] = {}
    lines, before = 0, len(diagnostics)
    for number, line in enumerate(read_text_file(path, diagnostics).split("\n"), 1):
        fields = [part.strip() for part in line.split("\t")]
        if not line.strip() or (number == 1 and _is_header(fields)):
            continue
        where = f"{path.name}:{number}"
        if _validate_fields(fields, where, diagnostics):
            query, passage, score = fields[0], fields[1], int(fields[2])
            known, _ = judged.setdefault((query, passage), (score, where))
            lines += 1
            if known != score:
                expected = f"{known}, or one line only"
                diagnostics.add("conflict", where, "conflicts with an earlier score", score, expected=expected)
    if not judged and len(diagnostics) == before:
        diagnostics.add("no-rows", path.name, "holds no judgements", expected=_FIELDS)
    return Qrels(judged, lines - len(judged))


def _is_header(fields: list[str]) -> bool:
    return fields[0].lower() in _HEADER_STARTS and fields[-1].lower() in _HEADER_ENDS


def _validate_fields(fields: list[str], where: str, diagnostics: DiagnosticList) -> bool:
    before = len(diagnostics)
    if len(fields) != 3:
        diagnostics.add("wrong-length", where, f"has {len(fields)} fields", "\t".join(fields), expected=_FIELDS)
    elif not (fields[0] and fields[1]):
        diagnostics.add("missing-id", where, "an id is empty", "\t".join(fields))
    elif not _SCORE.fullmatch(fields[2]):
        expected = "an integer; above 0 means relevant"
        diagnostics.add("wrong-type", where, "the score is not an integer", fields[2], expected=expected)
    return len(diagnostics) == before


QRELS_PLACES = ("qrels.tsv", "qrels/test.tsv")


def load_beir(config: BeirConfig) -> Collection:
    """Load the folder as one collection, named after it; unjudged passages belong to the corpus.

    Published sets keep the judgements of each part in a file of its own, and the queries of all parts in one. If the
    judgements are those of `qrels/test.tsv`, queries that it does not judge are therefore left out and counted in
    `merged`.

    Raises:
        InputError: If a file is missing or unreadable, an id is missing or not unique, a judgement is invalid or of an
            unknown query or passage, a query has no relevant passage, or a text is empty; with a diagnostic for each.
    """
    diagnostics = DiagnosticList()
    folder = expand_home(config.path, "data.path")
    qrels_path = _find_qrels(folder, diagnostics)
    diagnostics.raise_if_any()
    passages = _read_texts(folder / "corpus.jsonl", "passage", diagnostics)
    queries = _read_texts(folder / "queries.jsonl", "query", diagnostics)
    qrels = read_qrels(qrels_path, diagnostics)
    _validate_known(qrels, queries, passages, diagnostics)
    answered = {query for query, _ in qrels.relevant}
    has_own_queries = qrels_path.parent == folder
    unjudged = set() if has_own_queries else queries.keys() - {query for query, _ in qrels.judged}
    for query, (_, place) in queries.items():
        if query not in answered and query not in unjudged:
            hint = "judge it with a score above 0, or remove it"
            diagnostics.add("unanswered-query", place, "query without a relevant passage", query, hint=hint)
    diagnostics.raise_if_any()
    pairs = [Pair(queries[q][0], passages[p][0], None, place) for (q, p), place in qrels.relevant.items()]
    texts = [text for text, _ in passages.values()]
    collection = build_collection(folder.resolve().name, pairs, texts)
    ignored = sum((folder / name).is_file() for name in QRELS_PLACES) - 1
    counts = {
        **count_duplicates("passages", texts),
        **count_duplicates("queries", [text for query, (text, _) in queries.items() if query in answered]),
        "duplicate rows": len(pairs) - len(collection.judgements),
        "judgements with a score of 0 or less": len(qrels.judged) - len(pairs),
        "repeated judgements": qrels.repeated,
        f"queries that {qrels_path.name} does not judge": len(unjudged),
        f"qrels files ignored in favour of {qrels_path.relative_to(folder)}": ignored,
    }
    return replace(collection, merged=tuple((what, count) for what, count in counts.items() if count))


def _find_qrels(folder: Path, diagnostics: DiagnosticList) -> Path:
    """Return the path of the judgements; record a diagnostic for each file that the folder lacks."""
    try:
        there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        diagnostics.add("unreadable", "data.path", f"cannot be read: {error.strerror}", str(folder))
        return folder
    if not is_folder:
        code: Code = "wrong-file-kind" if there else "missing-file"
        problem = "is a file, not a folder" if there else "there is no such folder"
        expected = "a folder with corpus.jsonl, queries.jsonl and qrels.tsv"
        diagnostics.add(code, "data.path", problem, str(folder), expected=expected)
        return folder
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (folder / name).is_file():
            diagnostics.add("missing-file", "data.path", f"there is no {name} in this folder", str(folder))
    found = next((folder / name for name in QRELS_PLACES if (folder / name).is_file()), None)
    if found is None:
        problem, expected = "there are no judgements in this folder", " or ".join(QRELS_PLACES)
        diagnostics.add("missing-file", "data.path", problem, str(folder), expected=expected)
    return found or folder


def _read_texts(path: Path, what: str, diagnostics: DiagnosticList) -> dict[str, tuple[str, str]]:
    """Read id → (text, `name:line`).

    An entry with an invalid text is kept, so that its judgements are not reported as well.
    """
    found: dict[str, tuple[str, str]] = {}
    for where, row in read_objects(path, diagnostics):
        identity = _read_id(row, where, diagnostics)
        text = _read_text(row, where, diagnostics)
        if identity is None:
            continue
        if identity in found:
            diagnostics.add(
                "duplicate-id",
                where,
                f"{what} id is not unique",
                identity,
                expected=f"an id not used in {found[identity][1]}",
            )
        else:
            found[identity] = (text, where)
    return found


def _read_id(row: dict[str, Any], where: str, diagnostics: DiagnosticList) -> str | None:
    identity = row.get("_id", row.get("id"))
    if isinstance(identity, int) and not isinstance(identity, bool):
        return str(identity)
    if isinstance(identity, str) and not is_blank(identity):
        return identity.strip()
    diagnostics.add("missing-id", where, "has no id", identity, expected="a text under '_id' or 'id'")
    return None


def _read_text(row: dict[str, Any], where: str, diagnostics: DiagnosticList) -> str:
    """Return title and text joined by a space, as BEIR does."""
    if "text" not in row:
        diagnostics.add(
            "missing-column",
            where,
            "has no 'text'",
            expected="{'_id' or 'id', 'title' (optional), 'text'}",
            hint=f"it has {list_names(row)}",
        )
        return ""
    title, text = row.get("title"), row["text"]
    if not isinstance(title, str | None):
        parse_text(title, where, "title", diagnostics)
        return ""
    joined = f"{title} {text}" if isinstance(text, str) and title else text
    return parse_text(joined, where, "text", diagnostics) or ""


def _validate_known(
    qrels: Qrels, queries: dict[str, Any], passages: dict[str, Any], diagnostics: DiagnosticList
) -> None:
    for (query, passage), (_, place) in qrels.judged.items():
        if query not in queries:
            diagnostics.add("unknown-id", place, "judges a query that queries.jsonl does not hold", query)
        if passage not in passages:
            diagnostics.add("unknown-id", place, "judges a passage that corpus.jsonl does not hold", passage)
