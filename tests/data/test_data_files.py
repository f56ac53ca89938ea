"""Pairs from one file: the supported formats, and the diagnostic of each error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.refusals import codes_and_locations

from embsweep.data.sources.load import load_collection

GOOD = '{"anchor": "a?", "positive": "p"}\n'
NL = "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(collection):
    return [(collection.queries[j.query], collection.passages[j.passage]) for j in collection.judgements]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.jsonl", GOOD + '{"anchor": " b? ", "positive": "q\\n", "other": 3}', [("a?", "p"), ("b?", "q")]),
        ("x.ndjson", GOOD.encode(), [("a?", "p")]),
        ("x.jsonl", b"\xef\xbb\xbf" + GOOD.encode(), [("a?", "p")]),
        ("x.JSONL", GOOD.replace("\n", "\r\n") + "\r\n", [("a?", "p")]),
        ("x.jsonl", '{"anchor": "a\u2028b", "positive": "p\u0085q"}', [("a\u2028b", "p\u0085q")]),
        ("x.jsonl", '{"anchor": "Grüße 👋", "positive": "caf\\u00e9 \\ud83d\\ude00"}', [("Grüße 👋", "café 😀")]),
        ("x.csv", "anchor,positive\na?,p\n", [("a?", "p")]),
        ("x.csv", b"\xef\xbb\xbfanchor,positive\r\na?,p\r\n\r\n", [("a?", "p")]),
        ("x.csv", 'anchor,positive\n"a, ""b""?","p\nq"\nc,d\n', [('a, "b"?', "p\nq"), ("c", "d")]),
        ("x.csv", "extra,positive,anchor\n1,p,a?\n", [("a?", "p")]),
        ("x.csv", f"anchor,positive\na?,{'x' * 200_000}\n", [("a?", "x" * 200_000)]),
        ("x.tsv", "anchor\tpositive\na, b?\tp\n", [("a, b?", "p")]),
    ],
)
def test_reads(tmp_path, files_config, name, content, expected):
    collection = load_collection(files_config(write(tmp_path / name, content)), tmp_path)
    assert texts(collection) == expected
    assert collection.name == "x"


def test_reads_parquet_with_named_columns(tmp_path, files_config):
    table = pa.table({"q.text": ["a?", "b?"], "neg": ["n", "m"], "answer": ["p", "q"], "other": [1, 2]})
    pq.write_table(table, tmp_path / "x.parquet")
    config = files_config(tmp_path / "x.parquet", anchor="q.text", positive="answer", negative="neg")
    collection = load_collection(config, tmp_path)
    assert texts(collection) == [("a?", "p"), ("b?", "q")]
    assert [[collection.passages[n] for n in j.negatives] for j in collection.judgements] == [["n"], ["m"]]


def test_the_csv_limit_of_the_process_is_not_changed(tmp_path, files_config):
    import csv

    before = csv.field_size_limit()
    load_collection(files_config(write(tmp_path / "x.csv", "anchor,positive\na,b\n")), tmp_path)
    assert csv.field_size_limit() == before


DEEP = "[" * 100_000
INVALID = [
    # name, content, where, code
    ("empty.jsonl", "", "empty.jsonl", "empty"),
    ("blank.jsonl", "\ufeff \n\n", "blank.jsonl", "empty"),
    ("x.jsonl", GOOD + "{oops}\n", "x.jsonl:2", "bad-format"),
    ("x.jsonl", GOOD + '{"anchor": "a', "x.jsonl:2", "bad-format"),
    ("x.jsonl", GOOD + NL + "[1]\n", "x.jsonl:3", "wrong-type"),
    ("x.jsonl", '"text"', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", DEEP, "x.jsonl:1", "bad-format"),
    ("x.jsonl", '{"anchor": ' + "1" * 5000 + ', "positive": "p"}', "x.jsonl:1", "bad-format"),
    ("x.jsonl", '{"anchor": "a", "anchor": "b", "positive": "p"}', "x.jsonl:1", "duplicate-column"),
    ("x.jsonl", GOOD + '{"anchor": "a"}', "x.jsonl:2", "missing-column"),
    ("x.jsonl", '{"anchor": "a", "positve": "p"}', "x.jsonl:1", "missing-column"),
    ("x.jsonl", '{"anchor": 3, "positive": "p"}', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", '{"anchor": true, "positive": "p"}', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", '{"anchor": "a", "positive": null}', "x.jsonl:1", "missing-value"),
    ("x.jsonl", '{"anchor": ["a"], "positive": "p"}', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", '{"anchor": "a", "positive": []}', "x.jsonl:1", "missing-value"),
    ("x.jsonl", '{"anchor": "a", "positive": ["p", 3]}', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", '{"anchor": "a", "positive": {}}', "x.jsonl:1", "wrong-type"),
    ("x.jsonl", '{"anchor": " \\t\\u00a0", "positive": "p"}', "x.jsonl:1", "empty"),
    ("x.jsonl", '{"anchor": "\\u200b\\ufeff", "positive": "p"}', "x.jsonl:1", "empty"),
    ("x.jsonl", '{"anchor": "a\\u0000b", "positive": "p"}', "x.jsonl:1", "bad-character"),
    ("x.jsonl", '{"anchor": "a\\ud800b", "positive": "p"}', "x.jsonl:1", "bad-character"),
    ("x.jsonl", GOOD.encode() + b'{"anchor": "a\xff", "positive": "p"}', "x.jsonl:2", "not-utf8"),
    ("x.jsonl", GOOD.encode() + b'{"anchor": "a\0", "positive": "p"}', "x.jsonl:2", "bad-character"),
    ("x.jsonl", GOOD.encode("utf-16"), "x.jsonl:1", "not-utf8"),
    ("x.csv", "", "x.csv", "empty"),
    ("x.csv", "anchor,positive\n", "x.csv", "no-rows"),
    ("x.csv", "anchor,positive,anchor\na,p,b\n", "x.csv:1", "duplicate-column"),
    ("x.csv", "anchor,positve\na,p\n", "x.csv:1", "missing-column"),
    ("x.csv", 'anchor,positive\n"a\nb",p\nc\n', "x.csv:4", "wrong-length"),
    ("x.csv", "anchor,positive\na,b,c\n", "x.csv:2", "wrong-length"),
    ("x.csv", 'anchor,positive\n"a\nb",p\n"c,d\n', "x.csv:4", "bad-format"),
    ("x.csv", 'anchor,positive\n"a\nb",p\n\n"c",""\n', "x.csv:5", "empty"),
    ("x.csv", b"anchor,positive\na,\xe9\nb,\xc3\xa9\n", "x.csv:2", "not-utf8"),
    ("x.csv", "anchor,positive\nwniosku,za\u0142\u0105cznik\n".encode("cp1250"), "x.csv:2", "not-utf8"),
    ("x.csv", b"anchor,positive\na,b\0\n", "x.csv:2", "bad-character"),
    ("x.parquet", "", "x.parquet", "bad-format"),
    ("x.parquet", "anchor,positive\na,b\n", "x.parquet", "bad-format"),
]


@pytest.mark.parametrize(("name", "content", "where", "code"), INVALID)
def test_invalid_content(tmp_path, files_config, diagnostics_of, name, content, where, code):
    (diagnostic,) = diagnostics_of(files_config(write(tmp_path / name, content)))
    assert (diagnostic.code, diagnostic.location) == (code, where)


@pytest.mark.parametrize(
    ("columns", "where", "code"),
    [
        ({"anchor": ["a", "b"], "positive": ["p", None]}, "x.parquet:2", "missing-value"),
        ({"anchor": [["a"]], "positive": ["p"]}, "x.parquet:1", "wrong-type"),
        ({"anchor": [1.5], "positive": ["p"]}, "x.parquet:1", "wrong-type"),
        ({"anchor": [b"a"], "positive": ["p"]}, "x.parquet:1", "wrong-type"),
        ({"anchor": ["a"], "positives": ["p"]}, "x.parquet", "missing-column"),
        ({"anchor": pa.array([], pa.string()), "positive": pa.array([], pa.string())}, "x.parquet", "no-rows"),
    ],
)
def test_invalid_parquet(tmp_path, files_config, diagnostics_of, columns, where, code):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet"))
    assert (diagnostic.code, diagnostic.location) == (code, where)


def test_parquet_with_a_text_that_is_not_utf8(tmp_path, files_config, diagnostics_of):
    broken = pa.array([b"fine", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"anchor": broken, "positive": ["p", "q"]}), tmp_path / "x.parquet")
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet"))
    assert diagnostic.location == "x.parquet:2"
    assert diagnostic.value == b"\xff\xfe"


def test_parquet_with_a_repeated_column(tmp_path, files_config, diagnostics_of):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["p"])], ["anchor", "anchor", "positive"])
    pq.write_table(table, tmp_path / "x.parquet")
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet"))
    assert (diagnostic.code, diagnostic.location) == ("duplicate-column", "x.parquet")


def test_truncated_parquet(tmp_path, files_config, diagnostics_of):
    pq.write_table(pa.table({"anchor": ["a"] * 100, "positive": ["p"] * 100}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for kept in (len(whole) // 2, len(whole) - 1):
        write(tmp_path / "x.parquet", whole[:kept])
        (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet"))
        assert (diagnostic.code, diagnostic.location) == ("bad-format", "x.parquet")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "wrong-file-kind"),
        ("folder.jsonl", "wrong-file-kind"),
        ("pair.jsonl", "missing-file"),
        ("nowhere/pairs.jsonl", "missing-file"),
        ("pairs.xlsx", "wrong-file-kind"),
        ("pairs", "wrong-file-kind"),
        ("pipe.csv", "wrong-file-kind"),
        ("round.jsonl", "missing-file"),
        ("dangling.csv", "missing-file"),
        ("x" * 300 + ".jsonl", "unreadable"),
    ],
)
def test_invalid_path(tmp_path, files_config, diagnostics_of, path, code):
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pairs.jsonl", "pairs.xlsx", "pairs"):
        (tmp_path / name).write_text(GOOD)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "round.jsonl").symlink_to(tmp_path / "round.jsonl")
    (tmp_path / "dangling.csv").symlink_to("gone.csv")
    (diagnostic,) = diagnostics_of(files_config(str(tmp_path / path)))
    assert (diagnostic.code, diagnostic.location) == (code, "data.pairs")
    assert f"did you mean '{path}'" not in str(diagnostic)


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
def test_the_encoding_is_named(tmp_path, files_config, diagnostics_of, encoding, name):
    (diagnostic,) = diagnostics_of(files_config(write(tmp_path / "x.jsonl", GOOD.encode(encoding))))
    assert (diagnostic.code, diagnostic.location) == ("not-utf8", "x.jsonl:1")
    assert name in diagnostic.message


@pytest.mark.slow
def test_a_long_run_of_combining_marks_is_refused_before_it_takes_minutes(tmp_path, files_config, diagnostics_of):
    """Unicode normalisation sorts them, in quadratic time."""
    line = json.dumps({"anchor": "Größe e" + "\u0301\u0323" * 300_000, "positive": "p"}) + "\n"
    diagnostics = diagnostics_of(files_config(write(tmp_path / "x.jsonl", GOOD + line)))
    assert codes_and_locations(diagnostics) == [("bad-character", "x.jsonl:2")]


def test_unreadable_file(tmp_path, files_config, diagnostics_of, monkeypatch):
    def refuse(path: Path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    path = write(tmp_path / "x.jsonl", GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    (diagnostic,) = diagnostics_of(files_config(path))
    assert (diagnostic.code, diagnostic.location, diagnostic.value) == ("unreadable", "x.jsonl", str(path))


def test_diagnostics_are_in_the_order_of_the_file(tmp_path, files_config, diagnostics_of):
    rows = [GOOD, "{", '{"anchor": "", "positive": 1}', GOOD, '{"positive": "p"}']
    diagnostics = diagnostics_of(files_config(write(tmp_path / "x.jsonl", "\n".join(row.strip() for row in rows))))
    assert codes_and_locations(diagnostics) == [
        ("bad-format", "x.jsonl:2"),
        ("empty", "x.jsonl:3"),
        ("wrong-type", "x.jsonl:3"),
        ("missing-column", "x.jsonl:5"),
    ]


def test_diagnostics_of_one_kind_are_one_with_their_number_and_first_places(tmp_path, files_config, diagnostics_of):
    (diagnostic,) = diagnostics_of(files_config(write(tmp_path / "x.jsonl", GOOD + "{\n" * 1234)))
    assert (diagnostic.code, diagnostic.location, diagnostic.count) == ("bad-format", "x.jsonl:2", 1234)
    assert "x.jsonl:2, x.jsonl:3, x.jsonl:4, …" in diagnostic.message


def test_twenty_kinds_are_listed_and_the_rest_counted(tmp_path, files_config, diagnostics_of):
    header = ",".join(["anchor", "positive", *(f"c{n}" for n in range(30) for _ in range(2))])
    diagnostics = diagnostics_of(files_config(write(tmp_path / "x.csv", header + "\n")))
    assert codes_and_locations(diagnostics) == [("duplicate-column", "x.csv:1")] * 20 + [("more-faults", "x.csv")]
    assert diagnostics[-1].count == 10


def test_a_negative_that_is_relevant_to_the_query_is_a_diagnostic_of_its_row(tmp_path, files_config, diagnostics_of):
    rows = [("a", "p", "n"), ("a", "q", "p ")]
    lines = "\n".join(json.dumps(dict(zip(("anchor", "positive", "negative"), row, strict=True))) for row in rows)
    (diagnostic,) = diagnostics_of(files_config(write(tmp_path / "x.jsonl", lines), negative="negative"))
    assert (diagnostic.code, diagnostic.location) == ("negative-is-relevant", "x.jsonl:2")


@pytest.mark.parametrize(
    ("changes", "key"), [({"positive": "anchor"}, "positive"), ({"negative": "anchor"}, "negative")]
)
def test_one_column_configured_twice(tmp_path, files_config, diagnostics_of, changes, key):
    (diagnostic,) = diagnostics_of(files_config(write(tmp_path / "x.jsonl", GOOD), **changes))
    assert (diagnostic.code, diagnostic.location) == ("duplicate-column", f"data.{key}")
