"""Source `beir`: a folder with corpus.jsonl, queries.jsonl and judgements (qrels), as BEIR and MTEB publish them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embsweep.config.data import BeirConfig
from embsweep.core.codes import Code
from embsweep.core.files import expand_home
from embsweep.data.collection import TEST, VALIDATION, Collection, Pair, build_collection, count_duplicates
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import find_top, list_names, validate_header
from embsweep.data.sources.paths import find_suffix, suggest_conversion
from embsweep.data.sources.qrels import DEV, PARTS, Qrels, find_qrels, read_qrels
from embsweep.data.sources.readers.open import open_table
from embsweep.data.sources.rows import read_label
from embsweep.data.text import is_blank, parse_text

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_PLACES = "qrels.tsv, or qrels/ with train.tsv, dev.tsv or test.tsv"
_SIDES = {DEV: VALIDATION, "test": TEST}


@dataclass(frozen=True)
class Judgements:
    """File of judgements by part. `pool` is the part that is split, or trained on; the others are held-out sides.

    A folder with one `qrels.tsv` has a single part, whose name is empty.
    """

    files: Mapping[str, Path]

    @property
    def pool(self) -> str:
        """Name of the part to split: of train, dev and test the first that there is."""
        return next(part for part in ("", *PARTS) if part in self.files)

    @property
    def sides(self) -> dict[str, str | None]:
        """Side of each part; None for the part to split."""
        return {part: None if part == self.pool else _SIDES[part] for part in self.files}


def load_beir(config: BeirConfig) -> Collection:
    """Load the folder as one collection, named after it; unjudged passages belong to the corpus.

    Published sets keep the judgements of each part in a file of its own, and the queries of all parts in one: those of
    `qrels/train.tsv` train, dev's choose and test's report. Where a file is missing, its side is split from the part
    that trains. Queries that no file judges are left out and counted in `merged`.

    Raises:
        InputError: If a file is missing or unreadable, an id is missing or not unique, a judgement is invalid or of an
            unknown query or passage, a query has no relevant passage, or a text is empty; with a diagnostic for each
            kind.
    """
    diagnostics = DiagnosticList()
    folder = expand_home(config.path, "data.path")
    found = _find_judgements(folder, diagnostics)
    diagnostics.raise_if_any()
    passages = _read_texts(_find_texts(folder, "corpus"), "passage", diagnostics)
    queries = _read_texts(_find_texts(folder, "queries"), "query", diagnostics)
    labels = {} if config.slice is None else _read_labels(_find_texts(folder, "queries"), config.slice, diagnostics)
    qrels = {part: read_qrels(path, diagnostics) for part, path in found.files.items()}
    for judged in qrels.values():
        _validate_known(judged, queries, passages, diagnostics)
    answered = {query for judged in qrels.values() for query, _ in judged.relevant}
    known = {query for judged in qrels.values() for query, _ in judged.judged}
    unjudged = set() if found.pool == "" else queries.keys() - known
    for query, (_, place) in queries.items():
        if query not in answered and query not in unjudged:
            hint = "judge it with a score above 0, or remove it"
            diagnostics.add("unanswered-query", place, "query without a relevant passage", query, hint=hint)
    diagnostics.raise_if_any()
    pairs = [
        Pair(queries[q][0], passages[p][0], (), place, side=found.sides[part], slice=labels.get(q))
        for part, judged in qrels.items()
        for (q, p), place in judged.relevant.items()
    ]
    texts = [text for text, _ in passages.values()]
    collection = build_collection(folder.resolve().name, pairs, texts, list(_describe(found)))
    total = sum(len(judged.judged) for judged in qrels.values())
    names = " or ".join(path.name for path in found.files.values())
    ignored = len(find_qrels(folder)) if found.pool == "" else 0
    counts = {
        **dict(collection.merged),
        **dict.fromkeys(("duplicate passages", "normalised duplicate passages"), 0),
        **dict.fromkeys(("duplicate queries", "normalised duplicate queries"), 0),
        **count_duplicates("passages", texts),
        **count_duplicates("queries", [text for query, (text, _) in queries.items() if query in answered]),
        "duplicate rows": len(pairs) - len(collection.judgements),
        "judgements with a score of 0 or less": total - len(pairs),
        "repeated judgements": sum(judged.repeated for judged in qrels.values()),
        f"queries that {names} does not judge": len(unjudged),
        "qrels files ignored in favour of qrels.tsv": ignored,
    }
    return replace(collection, merged=tuple((what, count) for what, count in counts.items() if count))


def _describe(found: Judgements) -> Iterator[str]:
    """Yield which part trains, chooses and reports, if the folder has several, or trains on what is meant for test."""
    names = {side: found.files[part].name for part, side in found.sides.items()}
    if found.pool == "" or (len(names) == 1 and found.pool != "train"):
        if found.pool:
            yield f"the folder judges {found.pool} only: its queries are split, so most of them are trained on"
        return
    pool = names[None]
    validation, test = (names.get(side, f"a part of {pool} (data.split.{side})") for side in (VALIDATION, TEST))
    yield f"the folder's own split: {pool} trains, {validation} chooses, {test} reports"


def _find_judgements(folder: Path, diagnostics: DiagnosticList) -> Judgements:
    """Return the files of judgements; record a diagnostic for each file that the folder lacks."""
    try:
        there, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:
        diagnostics.add("unreadable", "data.path", f"cannot be read: {error.strerror}", str(folder))
        return Judgements({})
    if not is_folder:
        code: Code = "wrong-file-kind" if there else "missing-file"
        problem = "is a file, not a folder" if there else "there is no such folder"
        pairs = f"a file of pairs is read by: data=files data.pairs={folder}"
        hint = (suggest_conversion(folder) or pairs) if there else None
        expected = f"a folder with corpus.jsonl, queries.jsonl and {_PLACES}"
        diagnostics.add(code, "data.path", problem, str(folder), expected=expected, hint=hint)
        return Judgements({})
    for name in ("corpus", "queries"):
        if not _find_texts(folder, name):
            problem, hint = f"there is no {name}.jsonl in this folder", _suggest(folder)
            diagnostics.add("missing-file", "data.path", problem, str(folder), hint=hint)
    own = next((path for suffix in (".tsv", ".tsv.gz") if (path := folder / f"qrels{suffix}").is_file()), None)
    found = {"": own} if own else find_qrels(folder)
    if not found:
        problem = "there are no judgements in this folder"
        diagnostics.add("missing-file", "data.path", problem, str(folder), expected=_PLACES)
    return Judgements(found)


def _suggest(folder: Path) -> str | None:
    """Return how to read a folder that is no BEIR folder: by the pattern of its files, or the folder inside it."""
    inside = next((path.parent for path in sorted(folder.glob("*/corpus.jsonl*"))), None)
    if inside:
        return f"data.path={inside}"
    suffix = next((suffix for path in sorted(folder.iterdir()) if (suffix := find_suffix(path))), None)
    return f"files of pairs are read by: data=files data.pairs='{folder}/*{suffix}'" if suffix else None


def _find_texts(folder: Path, name: str) -> list[Path]:
    """Return the file of texts, or the files in the folder of that name (MTEB's form)."""
    single = next((path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
    if single:
        return [single]
    return sorted(path for suffix in _SUFFIXES for path in (folder / name).glob(f"*{suffix}"))


def _read_texts(paths: list[Path], what: str, diagnostics: DiagnosticList) -> dict[str, tuple[str, str]]:
    """Read id → (text, `name:line`).

    An entry with an invalid text is kept, so that its judgements are not reported as well.
    """
    found: dict[str, tuple[str, str]] = {}
    rows = (row for path in paths for row in _read_rows(path, diagnostics))
    for where, row in rows:
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


def _read_labels(paths: list[Path], name: str, diagnostics: DiagnosticList) -> dict[str, str | None]:
    """Read id → label of the slice of every query; record a diagnostic if a file has no such field."""
    found: dict[str, str | None] = {}
    for path in paths:
        table = open_table(path, unseen := DiagnosticList())  # reading the texts has recorded them
        if table.columns and validate_header({"slice": name}, table.columns, table.where, diagnostics):
            used = ("_id", "id", find_top(name, table.columns))
            for where, row in table.read([column for column in table.columns if column in used]):
                if identity := _read_id(row, where, unseen):
                    found[identity] = read_label(row, name, where, diagnostics)
    return found


def _read_rows(path: Path, diagnostics: DiagnosticList) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = open_table(path, diagnostics)
    yield from table.read([name for name in table.columns if name in ("_id", "id", "title", "text")])


def _read_id(row: Mapping[str, Any], where: str, diagnostics: DiagnosticList) -> str | None:
    identity = row.get("_id", row.get("id"))
    if isinstance(identity, int) and not isinstance(identity, bool):
        return str(identity)
    if isinstance(identity, str) and not is_blank(identity):
        return identity.strip()
    diagnostics.add("missing-id", where, "has no id", identity, expected="a text under '_id' or 'id'")
    return None


def _read_text(row: Mapping[str, Any], where: str, diagnostics: DiagnosticList) -> str:
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
