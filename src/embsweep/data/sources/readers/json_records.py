"""Reader of JSON: one object per line, one array of objects, or one object that holds the rows.

The form is recognised by its content, because `datasets` and `pandas` write lines under the name `.json` too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.encodings import read_text_file
from embsweep.data.sources.readers.table import Row, Table, table_of_rows

_MOST_COLUMNS = 50
"""Number of texts up to which one object is one row."""

_LINES = ".jsonl", ".ndjson"
_SQUAD_FILTER = (
    "jq -c '.data[].paragraphs[] | .context as $c | .qas[] | {anchor: .question, positive: $c}' {name} > pairs.jsonl"
)


class _RepeatedKey(ValueError):
    """A JSON object has a key more than once."""


def read_json(path: Path, diagnostics: DiagnosticList, *, encoding: str | None = None) -> Table:
    """Read a file of JSON lines, of one array of objects, or of one object with rows inside.

    Such an object is a data set of LlamaIndex (`queries`, `corpus`, `relevant_docs`), has one list of objects, or has
    columns: a list of values, or a mapping from row to value, for each name.

    Args:
        path: File to read. A file `.jsonl` or `.ndjson` has lines, unless it is one array.
        diagnostics: Receives a diagnostic for each kind of invalid line.
        encoding: Encoding of the file; None is UTF-8.
    """
    text = read_text_file(path, diagnostics, encoding)
    is_lines = path.name.lower().removesuffix(".gz").endswith(_LINES)
    whole = None
    if text.lstrip()[:1] == "[" or not is_lines:
        try:
            whole = json.loads(text, object_pairs_hook=_to_object)
        except json.JSONDecodeError as error:
            if text.lstrip()[:1] == "[" and not error.msg.startswith("Extra data"):
                where = f"{path.name}:{error.lineno}"
                diagnostics.add("bad-format", where, f"is not valid JSON: {error.msg} at column {error.colno}")
                return table_of_rows(path.name, [])
        except (ValueError, RecursionError):  # reported with its line
            pass
    if isinstance(whole, list):
        return table_of_rows(path.name, list(_list_records(whole, path.name, diagnostics)))
    if isinstance(whole, dict):
        return _read_object(whole, path.name, diagnostics)
    return table_of_rows(f"{path.name}:1", list(_split_lines(text, path.name, diagnostics)))


def read_lines(path: Path, diagnostics: DiagnosticList) -> Iterator[Row]:
    """Yield (`name:line`, object) of every line that is a JSON object; record a diagnostic for every other line."""
    return _split_lines(read_text_file(path, diagnostics), path.name, diagnostics)


def _list_records(items: list[Any], name: str, diagnostics: DiagnosticList) -> Iterator[Row]:
    """Yield (`name:record`, object) of every element that is an object, counted from 1."""
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield f"{name}:{number}", item
        else:
            filter_ = ".[] | {anchor: .[0], positive: .[1]}"
            hint = f"jq -c '{filter_}' {name} > pairs.jsonl" if isinstance(item, list) and len(item) == 2 else None
            where, problem = f"{name}:{number}", "is not a JSON object"
            diagnostics.add("wrong-type", where, problem, item, expected=_EXAMPLE, hint=hint)


def _read_object(whole: dict[str, Any], name: str, diagnostics: DiagnosticList) -> Table:
    if {"queries", "corpus", "relevant_docs"} <= whole.keys():
        return _read_llama_index(whole, name, diagnostics)
    lists = {key: value for key, value in whole.items() if _is_list_of_objects(value)}
    if len(lists) == 1:
        (key, items), = lists.items()  # fmt: skip
        if items and "paragraphs" in items[0]:
            diagnostics.add(
                "wrong-file-kind", name, "is a file of SQuAD's form", hint=_SQUAD_FILTER.replace("{name}", name)
            )
            return table_of_rows(name, [])
        notes = (f"{name}: the rows are the list '{key}' of its object",)
        return table_of_rows(name, list(_list_records(items, name, diagnostics)), notes=notes)
    if form := _find_mapping(whole):
        problem, filter_ = form
        diagnostics.add("wrong-file-kind", name, problem, hint=f"jq -c '{filter_}' {name} > pairs.jsonl")
        return table_of_rows(name, [])
    if rows := _transpose(whole):
        return table_of_rows(name, [(f"{name}:{number}", row) for number, row in enumerate(rows, 1)])
    return table_of_rows(f"{name}:1", [(f"{name}:1", whole)])


def _find_mapping(whole: dict[str, Any]) -> tuple[str, str] | None:
    """Return what a mapping is that has rows by number, or passages by query, and the filter that makes rows of it."""
    if whole and all(key.isdecimal() and isinstance(value, dict) for key, value in whole.items()):
        return "maps numbers to rows", ".[]"
    if len(whole) > _MOST_COLUMNS and all(isinstance(value, str) for value in whole.values()):
        return "maps texts to texts", "to_entries[] | {anchor: .key, positive: .value}"
    return None


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _transpose(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an object of columns: lists, or mappings with the same keys, of equal length; else none."""
    values = list(columns.values())
    if len(values) > 1 and all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        values = [list(value.values()) for value in values]
    if len(values) < 2 or not all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _read_llama_index(whole: dict[str, Any], name: str, diagnostics: DiagnosticList) -> Table:
    """Read LlamaIndex's QA data set: texts of queries and nodes by id, and the ids of each query's relevant nodes."""
    queries, corpus, relevant = (whole[key] for key in ("queries", "corpus", "relevant_docs"))
    if not all(isinstance(part, dict) for part in (queries, corpus, relevant)):
        expected = "mappings queries, corpus (id to text) and relevant_docs (query id to ids)"
        diagnostics.add("wrong-type", name, "is no QA data set of LlamaIndex", expected=expected)
        return table_of_rows(name, [])
    rows: list[Row] = []
    for query, nodes in relevant.items():
        where = f"{name}:{len(rows) + 1}"
        unknown = [node for node in nodes if node not in corpus]
        if query not in queries or unknown:
            missing = query if query not in queries else unknown[0]
            problem = "relevant_docs names an id that queries or corpus does not hold"
            diagnostics.add("unknown-id", where, problem, missing)
            continue
        rows.append((where, {"anchor": queries[query], "positive": [corpus[node] for node in nodes]}))
    notes = (f"{name}: a QA data set of LlamaIndex, {len(queries):,} queries and {len(corpus):,} passages",)
    texts = tuple(text for text in corpus.values() if isinstance(text, str) and text.strip())
    left = sum(query not in relevant for query in queries)
    counts = (("queries without relevant_docs", left),) if left else ()
    return table_of_rows(name, rows, notes=notes, passages=texts, counts=counts)


_LINE_OR_ARRAY = "one JSON object per line, or one array"
_EXAMPLE = 'an object such as {"anchor": …, "positive": …}'


def _split_lines(text: str, name: str, diagnostics: DiagnosticList) -> Iterator[Row]:
    """Yield (`name:line`, object) of every line that is a JSON object; record a diagnostic for every other line.

    Lines of white space are skipped. Only a line feed ends a line: U+2028 and similar characters may be part of a JSON
    text.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        row = _parse_line(line, where, diagnostics)
        if row is not None:
            yield where, row


def _parse_line(line: str, where: str, diagnostics: DiagnosticList) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line, object_pairs_hook=_to_object)
    except _RepeatedKey as error:
        diagnostics.add("duplicate-column", where, f"key '{error}' occurs more than once", expected="each key once")
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON: {error.msg} at column {error.colno}"
        is_part = line.strip() in ("{", "}", "},")
        hint = "jq -c . OLD > pairs.jsonl writes each object in one line" if is_part else _LINE_OR_ARRAY
        diagnostics.add("bad-format", where, problem, line, hint=hint)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand nested lists
        diagnostics.add("bad-format", where, f"cannot be read as JSON: {error}", line)
    else:
        if isinstance(row, dict):
            return row
        diagnostics.add(
            "wrong-type",
            where,
            "is not a JSON object",
            line,
            expected=_EXAMPLE,
            hint="jq -c '{anchor: .[0], positive: .[1]}' OLD > pairs.jsonl turns lists into objects"
            if isinstance(row, list) and len(row) == 2
            else "one JSON object per line, or one array of objects",
        )
    return None


def _to_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in items).items() if count > 1]
    if repeated:
        raise _RepeatedKey(repeated[0])
    return dict(items)
