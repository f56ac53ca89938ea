"""Pairs out of one file: what is read, and what each thing wrong with it is called."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsweep.data.load import load_collection

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
    assert [collection.passages[j.negative] for j in collection.judgements] == ["n", "m"]


def test_the_csv_limit_of_the_process_stays(tmp_path, files_config):
    import csv

    before = csv.field_size_limit()
    load_collection(files_config(write(tmp_path / "x.csv", "anchor,positive\na,b\n")), tmp_path)
    assert csv.field_size_limit() == before


DEEP = "[" * 100_000
FAULTY = [
    # name, content, where, part of the message
    ("empty.jsonl", "", "empty.jsonl", "is empty"),
    ("blank.jsonl", "\ufeff \n\n", "blank.jsonl", "is empty"),
    ("x.jsonl", GOOD + "{oops}\n", "x.jsonl:2", "is not valid JSON"),
    ("x.jsonl", GOOD + '{"anchor": "a', "x.jsonl:2", "is not valid JSON"),
    ("x.jsonl", GOOD + NL + "[1]\n", "x.jsonl:3", "is not a JSON object"),
    ("x.jsonl", '"text"', "x.jsonl:1", "is not a JSON object"),
    ("x.jsonl", DEEP, "x.jsonl:1", "JSON"),
    ("x.jsonl", '{"anchor": ' + "1" * 5000 + ', "positive": "p"}', "x.jsonl:1", "JSON"),
    ("x.jsonl", '{"anchor": "a", "anchor": "b", "positive": "p"}', "x.jsonl:1", "key 'anchor' stands there more"),
    ("x.jsonl", GOOD + '{"anchor": "a"}', "x.jsonl:2", "there is no column 'positive' (data.positive)"),
    ("x.jsonl", '{"anchor": "a", "positve": "p"}', "x.jsonl:1", "did you mean 'positve'?"),
    ("x.jsonl", '{"anchor": 3, "positive": "p"}', "x.jsonl:1", "column 'anchor' is a number, not text; got 3"),
    ("x.jsonl", '{"anchor": true, "positive": "p"}', "x.jsonl:1", "is true or false, not text"),
    ("x.jsonl", '{"anchor": "a", "positive": null}', "x.jsonl:1", "column 'positive' is null"),
    ("x.jsonl", '{"anchor": "a", "positive": ["p"]}', "x.jsonl:1", "is a list, not text"),
    ("x.jsonl", '{"anchor": "a", "positive": {}}', "x.jsonl:1", "is an object, not text"),
    ("x.jsonl", '{"anchor": " \\t\\u00a0", "positive": "p"}', "x.jsonl:1", "column 'anchor' is empty"),
    ("x.jsonl", '{"anchor": "\\u200b\\ufeff", "positive": "p"}', "x.jsonl:1", "column 'anchor' is empty"),
    ("x.jsonl", '{"anchor": "a\\u0000b", "positive": "p"}', "x.jsonl:1", "column 'anchor' holds a NUL"),
    ("x.jsonl", '{"anchor": "a\\ud800b", "positive": "p"}', "x.jsonl:1", "half of a surrogate pair"),
    ("x.jsonl", GOOD.encode() + b'{"anchor": "a\xff", "positive": "p"}', "x.jsonl:2", "is not UTF-8 at byte 14"),
    ("x.jsonl", GOOD.encode() + b'{"anchor": "a\0", "positive": "p"}', "x.jsonl:2", "holds a NUL"),
    ("x.jsonl", GOOD.encode("utf-16"), "x.jsonl:1", "UTF-16"),
    ("x.csv", "", "x.csv", "is empty"),
    ("x.csv", "anchor,positive\n", "x.csv", "holds no rows"),
    ("x.csv", "anchor,positive,anchor\na,p,b\n", "x.csv:1", "column 'anchor' stands there 2 times"),
    ("x.csv", "anchor,positve\na,p\n", "x.csv:1", "columns here: 'anchor', 'positve'; did you mean 'positve'?"),
    ("x.csv", "anchor;positive\na;p\n", "x.csv:1", "columns seem to be separated by ';'"),
    ("x.csv", 'anchor,positive\n"a\nb",p\nc\n', "x.csv:4", "has 1 fields where the header has 2"),
    ("x.csv", "anchor,positive\na,b,c\n", "x.csv:2", "has 3 fields where the header has 2"),
    ("x.csv", 'anchor,positive\n"a\nb",p\n"c,d\n', "x.csv:4", "is not a record that can be read"),
    ("x.csv", 'anchor,positive\n"a\nb",p\n\n"c",""\n', "x.csv:5", "column 'positive' is empty"),
    ("x.csv", b"anchor,positive\na,\xe9\n", "x.csv:2", "is not UTF-8 at byte 3"),
    ("x.csv", b"anchor,positive\na,b\0\n", "x.csv:2", "holds a NUL"),
    ("x.tsv", "anchor,positive\na,b\n", "x.tsv:1", "columns seem to be separated by ','"),
    ("x.parquet", "", "x.parquet", "cannot be read as Parquet"),
    ("x.parquet", "anchor,positive\na,b\n", "x.parquet", "cannot be read as Parquet"),
]


@pytest.mark.parametrize(("name", "content", "where", "message"), FAULTY)
def test_faulty_content(tmp_path, files_config, faults_of, name, content, where, message):
    (fault,) = faults_of(files_config(write(tmp_path / name, content)))
    assert fault.where == where
    assert message in str(fault)


@pytest.mark.parametrize(
    ("columns", "where", "message"),
    [
        ({"anchor": ["a", "b"], "positive": ["p", None]}, "x.parquet:2", "column 'positive' is null"),
        ({"anchor": [["a"]], "positive": ["p"]}, "x.parquet:1", "column 'anchor' is a list, not text"),
        ({"anchor": [1.5], "positive": ["p"]}, "x.parquet:1", "column 'anchor' is a number, not text"),
        ({"anchor": [b"a"], "positive": ["p"]}, "x.parquet:1", "column 'anchor' is of type bytes, not text"),
        ({"anchor": ["a"], "positives": ["p"]}, "x.parquet", "did you mean 'positives'?"),
        ({"anchor": pa.array([], pa.string()), "positive": pa.array([], pa.string())}, "x.parquet", "holds no rows"),
    ],
)
def test_faulty_parquet(tmp_path, files_config, faults_of, columns, where, message):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    (fault,) = faults_of(files_config(tmp_path / "x.parquet"))
    assert fault.where == where
    assert message in str(fault)


def test_parquet_with_a_text_that_is_not_utf8(tmp_path, files_config, faults_of):
    broken = pa.array([b"fine", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"anchor": broken, "positive": ["p", "q"]}), tmp_path / "x.parquet")
    (fault,) = faults_of(files_config(tmp_path / "x.parquet"))
    assert fault.where == "x.parquet:2"
    assert fault.value == b"\xff\xfe"


def test_parquet_with_a_repeated_column(tmp_path, files_config, faults_of):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["p"])], ["anchor", "anchor", "positive"])
    pq.write_table(table, tmp_path / "x.parquet")
    (fault,) = faults_of(files_config(tmp_path / "x.parquet"))
    assert "column 'anchor' stands there 2 times" in str(fault)


def test_parquet_cut_short(tmp_path, files_config, faults_of):
    pq.write_table(pa.table({"anchor": ["a"] * 100, "positive": ["p"] * 100}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for kept in (len(whole) // 2, len(whole) - 1):
        write(tmp_path / "x.parquet", whole[:kept])
        (fault,) = faults_of(files_config(tmp_path / "x.parquet"))
        assert "cannot be read as Parquet" in str(fault)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "is a folder"),
        ("folder.jsonl", "is a folder"),
        ("pair.jsonl", "there is no such file"),
        ("pair.jsonl", "did you mean 'pairs.jsonl'?"),
        ("nowhere/pairs.jsonl", "there is no folder"),
        ("pairs.xlsx", "accepted: .jsonl, .ndjson, .csv, .tsv, .parquet"),
        ("pairs", "unknown kind of file"),
        ("pipe.csv", "is not a regular file"),
        ("round.jsonl", "is a link that leads nowhere"),
        ("dangling.csv", "is a link that leads nowhere"),
        ("x" * 300 + ".jsonl", "cannot be read"),
    ],
)
def test_faulty_path(tmp_path, files_config, faults_of, path, message):
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pairs.jsonl", "pairs.xlsx", "pairs"):
        (tmp_path / name).write_text(GOOD)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "round.jsonl").symlink_to(tmp_path / "round.jsonl")
    (tmp_path / "dangling.csv").symlink_to("gone.csv")
    (fault,) = faults_of(files_config(str(tmp_path / path)))
    assert fault.where == "data.pairs"
    assert message in str(fault)
    assert f"did you mean '{path}'" not in str(fault)


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32")])
def test_the_encoding_is_named(tmp_path, files_config, faults_of, encoding, name):
    (fault,) = faults_of(files_config(write(tmp_path / "x.jsonl", GOOD.encode(encoding))))
    assert f"is encoded as {name}" in str(fault)


def test_a_tower_of_marks_is_refused_before_it_takes_minutes(tmp_path, files_config, faults_of):
    """A normal form puts them in order, by the square of their number."""
    tower = json.dumps({"anchor": "Größe e" + "\u0301\u0323" * 300_000, "positive": "p"}) + "\n"
    faults = faults_of(files_config(write(tmp_path / "x.jsonl", GOOD + tower)))
    assert [fault.where for fault in faults] == ["x.jsonl:2"]
    assert "column 'anchor' holds more than 100 combining marks in a row" in str(faults[0])


def test_unreadable_file(tmp_path, files_config, faults_of, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    path = write(tmp_path / "x.jsonl", GOOD)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (fault,) = faults_of(files_config(path))
    assert "cannot be read: Permission denied" in str(fault)


def test_every_fault_is_told_in_the_order_of_the_file(tmp_path, files_config, faults_of):
    rows = [GOOD, "{", '{"anchor": "", "positive": 1}', GOOD, '{"positive": "p"}']
    faults = faults_of(files_config(write(tmp_path / "x.jsonl", "\n".join(row.strip() for row in rows))))
    assert [fault.where for fault in faults] == ["x.jsonl:2", "x.jsonl:3", "x.jsonl:3", "x.jsonl:5"]


def test_twenty_faults_are_listed_and_the_rest_counted(tmp_path, files_config, faults_of):
    faults = faults_of(files_config(write(tmp_path / "x.jsonl", "{\n" * 1234)))
    assert len(faults) == 21
    assert str(faults[-1]) == "x.jsonl: and 1,214 more faults"


def test_a_row_without_negative_is_a_fault(tmp_path, files_config, faults_of):
    rows = [{"anchor": "a", "positive": "p", "negative": n} for n in ("n", "", None)] + [
        {"anchor": "b", "positive": "p"}
    ]
    path = write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows)))
    faults = faults_of(files_config(path, negative="negative"))
    assert [fault.where for fault in faults] == ["x.jsonl:2", "x.jsonl:3", "x.jsonl:4"]


def test_a_negative_that_answers_the_question_is_a_fault_of_its_row(tmp_path, files_config, faults_of):
    rows = [("a", "p", "n"), ("a", "q", "p ")]
    lines = "\n".join(json.dumps(dict(zip(("anchor", "positive", "negative"), row, strict=True))) for row in rows)
    (fault,) = faults_of(files_config(write(tmp_path / "x.jsonl", lines), negative="negative"))
    assert fault.where == "x.jsonl:2"
    assert "is a relevant passage of the same question" in str(fault)


@pytest.mark.parametrize(
    ("changes", "key"), [({"positive": "anchor"}, "positive"), ({"negative": "anchor"}, "negative")]
)
def test_one_column_asked_for_twice(tmp_path, files_config, faults_of, changes, key):
    (fault,) = faults_of(files_config(write(tmp_path / "x.jsonl", GOOD), **changes))
    assert fault.where == f"data.{key}"
