"""Damaged files of pairs: refused with diagnostics, or read with every row accounted for."""

import csv
import gzip
import io
import json
import math
import os
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import broken_lines, good_texts, json_lines, mutations, scalars, texts, trees
from budget import budget, collect_diagnostics, huge
from hypothesis import example, given
from hypothesis import strategies as st

from embsweep.config.data import FilesConfig, SplitConfig
from embsweep.data.sources.load import load_collection
from embsweep.data.sources.readers.delimited import BLANK

SPLIT = SplitConfig(seed=1, validation=0.1, test=0.1)
PAIRS = [
    {"anchor": f"question {i} é", "positive": f'passage, "{i}"\nand more 語', "negative": f"no {i}"} for i in range(5)
]


def load(path, **changes):
    """Return (collection, diagnostics): exactly one of them is empty or None."""
    collection = None
    config = FilesConfig(
        **{"kind": "files", "pairs": str(path), "anchor": "anchor", "positive": "positive", "split": SPLIT} | changes
    )
    with collect_diagnostics() as diagnostics:
        collection = load_collection(config, path.parent if hasattr(path, "parent") else None)
    assert (collection is None) == bool(diagnostics)
    return collection, diagnostics


def rows_of(collection):
    """Return the number of rows that the collection accounts for: kept, merged into an equal row, or passed over."""
    counts = dict(collection.merged)
    return len(collection.judgements) + counts.get("duplicate rows", 0) + counts.get(BLANK, 0)


def load_bytes(folder, name, data, **changes):
    path = folder / name
    path.write_bytes(data)
    return load(path, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def as_csv(rows, delimiter=","):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["anchor", "positive", "negative"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(table):
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


GOOD = {
    "jsonl": b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in PAIRS),
    "csv": as_csv(PAIRS),
    "tsv": as_csv(PAIRS, "\t"),
    "parquet": as_parquet(pa.Table.from_pylist(PAIRS)),
}


def count_rows(kind, data):
    """Count the rows of a file without the loader."""
    if kind == "jsonl":
        return sum(bool(line.strip()) for line in data.decode("utf-8-sig").split("\n"))
    if kind == "parquet":
        return pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # for the line ends; the loader has found the encoding
    lines = io.StringIO(text, newline="")
    return sum(bool(row) for row in csv.reader(lines, delimiter="," if kind == "csv" else "\t")) - 1


@pytest.mark.parametrize("kind", GOOD)
def test_the_valid_files_are_read(folder, kind):
    collection, _ = load_bytes(folder, f"good.{kind}", GOOD[kind])
    assert rows_of(collection) == len(PAIRS) == count_rows(kind, GOOD[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOOD)
@given(data=st.data())
@budget(250)
def test_a_mutated_file_is_refused_or_every_row_counted(folder, kind, data):
    broken = data.draw(mutations(GOOD[kind]))
    collection, _ = load_bytes(folder, f"mutated.{kind}", broken)
    if collection is not None:
        assert rows_of(collection) == count_rows(kind, broken)


rows = st.dictionaries(st.one_of(st.sampled_from(["anchor", "positive", "negative"]), texts), trees, max_size=4)
pairs = st.fixed_dictionaries({"anchor": texts, "positive": texts}, optional={"negative": texts, "x": scalars})
good_pairs = st.fixed_dictionaries({"anchor": good_texts, "positive": good_texts})
lines = st.one_of(
    json_lines(good_pairs), json_lines(good_pairs), json_lines(pairs), json_lines(rows), broken_lines, st.just(b" ")
)


@pytest.mark.slow
@given(
    st.lists(lines, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
)
@budget(300)
def test_arbitrary_json_lines(folder, content, end, mark):
    data = mark + end.join(content)
    collection, _ = load_bytes(folder, "arbitrary.jsonl", data)
    if collection is not None:
        assert rows_of(collection) == count_rows("jsonl", data)


@given(st.lists(good_pairs, min_size=1, max_size=6), st.booleans())
@budget(100)
def test_valid_json_lines_are_all_read(folder, valid, escaped):
    data = b"\n".join(json.dumps(row, ensure_ascii=escaped).encode() for row in valid)
    collection, diagnostics = load_bytes(folder, "valid.jsonl", data)
    assert not diagnostics
    assert rows_of(collection) == len(valid)


@given(st.lists(good_pairs, min_size=1, max_size=6), st.sampled_from(["csv", "tsv"]))
@budget(150)
def test_fields_with_quotes_and_line_ends_are_all_read(folder, valid, kind):
    full = [{**row, "negative": "no"} for row in valid]
    collection, diagnostics = load_bytes(folder, f"valid.{kind}", as_csv(full, "," if kind == "csv" else "\t"))
    assert not diagnostics
    assert rows_of(collection) == len(valid)
    assert {p.strip() for p in collection.passages} <= {row["positive"].strip() for row in valid}


@given(st.lists(st.lists(texts, max_size=4), max_size=5), st.sampled_from([",", ";", "\t", "|"]), st.booleans())
@budget(250)
def test_arbitrary_delimited_rows(folder, table, delimiter, quoted):
    out = io.StringIO(newline="")
    out.write("anchor,positive\n")
    if quoted:
        csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    else:
        out.writelines(delimiter.join(row) + "\n" for row in table)
    data = out.getvalue().encode("utf-8", "surrogatepass")
    collection, _ = load_bytes(folder, "arbitrary.csv", data)
    if collection is not None:
        assert rows_of(collection) == count_rows("csv", data)


COLUMNS = [
    pa.array(["a", "b"]), pa.array(["a", None]), pa.array([None, None]), pa.array([1, 2]), pa.array([1.5, math.nan]),
    pa.array([["a"], ["b"]]), pa.array([{"x": "a"}, {"x": "b"}]), pa.array(["a", "b"]).dictionary_encode(),
    pa.array([b"a", b"\xff"]), pa.array(["a", "b"], pa.large_string()), pa.array([True, False]),
    pa.array([2**62, -(2**62)], pa.int64()).cast(pa.timestamp("s")), pa.array([2**62, 1]).cast(pa.timestamp("ns")),
    pa.array([1, 2]).cast(pa.timestamp("us", tz="Mars/Base")), pa.array([2**30, 1], pa.int32()).cast(pa.date32()),
    pa.array([1, 2]).cast(pa.duration("ns")), pa.array([Decimal("1.5"), Decimal("9e30")]),
    pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
    pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")),
    pa.array([1, 2]).cast(pa.time64("ns")), pa.array([b"ab", b"cd"], pa.binary(2)), pa.array(["  ", "\u200b"]),
    pa.array(["\x1b[2J", "b\0"]), pa.array(["a", "b"], pa.string_view()),
]  # fmt: skip
names = st.one_of(
    st.sampled_from(["anchor", "positive"]), st.sampled_from(["anchor", "positive", "a.b", "", "\x1b[1m", "é"])
)


@pytest.mark.slow
@given(
    st.lists(st.tuples(names, st.sampled_from(range(len(COLUMNS)))), min_size=1, max_size=4), st.sampled_from([0, 1, 2])
)
@example([("anchor", 0), ("positive", 14)], 1)
@budget(300)
def test_parquet_of_other_schemas(folder, columns, length):
    arrays = [COLUMNS[number].slice(0, length) for _, number in columns]
    try:
        data = as_parquet(pa.Table.from_arrays(arrays, names=[name for name, _ in columns]))
    except pa.ArrowException:
        return  # Arrow itself cannot write it
    collection, _ = load_bytes(folder, "schema.parquet", data)
    if collection is not None:
        assert rows_of(collection) == length


def test_parquet_with_the_footer_of_another_file(folder):
    other = as_parquet(pa.table({"anchor": ["a"] * 50, "positive": ["b"] * 50}))
    size = int.from_bytes(other[-8:-4], "little") + 8
    assert load_bytes(folder, "footer.parquet", GOOD["parquet"] + other[-size:])[1]


NOT_PAIRS = {
    "a folder": lambda root: (root / "x.csv").mkdir(),
    "a link to itself": lambda root: (root / "x.csv").symlink_to(root / "x.csv"),
    "a pipe": lambda root: os.mkfifo(root / "x.csv"),
    "a device": lambda root: (root / "x.csv").symlink_to("/dev/zero"),
    "nothing": lambda root: None,
    "an empty file": lambda root: (root / "x.csv").touch(),
    "a file of line ends": lambda root: (root / "x.csv").write_bytes(b"\r\n\n\r" * 99),
    "only a header": lambda root: (root / "x.csv").write_text("anchor,positive\n"),
    "gzip": lambda root: (root / "x.csv").write_bytes(gzip.compress(b"anchor,positive\na,b\n")),
    "UTF-16 without a mark": lambda root: (root / "x.csv").write_text("anchor,positive\na,b\n" * 99, "utf-16-le"),
    "UTF-16 and UTF-8": lambda root: (root / "x.csv").write_bytes("anchor,positive\na,b\n".encode("utf-16") + b"c"),
    "Latin-1 and UTF-8": lambda root: (root / "x.csv").write_bytes(b"anchor,positive\n\xe4,b\n\xc3\xa4,c\n"),
    "an unclosed quote": lambda root: (root / "x.csv").write_text('anchor,positive\n"a,b\n' + "c,d\n" * 9999),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_PAIRS)
def test_a_path_that_is_not_a_file_of_pairs_is_refused(tmp_path, kind):
    NOT_PAIRS[kind](tmp_path)
    assert load(tmp_path / "x.csv")[1]


INVALID_PATHS = (
    "", ".", "/", "~", "~no-such-user/x.csv", "x" * 5000, "a/" * 3000, "\x1b[2J.csv", "x.csv\n", "x.jsonl.gz",
)  # fmt: skip


@pytest.mark.parametrize("path", INVALID_PATHS)
def test_invalid_paths_are_refused(path):
    assert load(path)[1]


def test_a_file_without_read_permission_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("anchor,positive\na,b\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user can read every file")
    assert "cannot be read" in load(path)[1][0].message


def test_control_sequences_in_a_file_name_are_escaped(tmp_path):
    assert load_bytes(tmp_path, "x\x1b[2J\n.csv", b"anchor\n")[1]


HUGE = {
    "a header of half a million columns": lambda: ("x.csv", b",".join(b"c%d" % i for i in range(500_000)) + b"\n1,2\n"),
    "a header of half a million equal columns": lambda: ("x.csv", b",".join([b"c"] * 500_000) + b"\n1,2\n"),
    "an object of 200,000 keys with one duplicate": lambda: (
        "x.jsonl", b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b',"k199999":1}',
    ),
    "an object of 200,000 other keys": lambda: (
        "x.jsonl", b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b"}",
    ),
    "100,000 objects without the columns": lambda: ("x.jsonl", b'{"anchr": "a", "positiv": "b"}\n' * 100_000),
    "a line of 8 MB": lambda: ("x.jsonl", b'{"anchor": "' + b"a" * 8_000_000),
    "a name of 8 MB": lambda: ("x.jsonl", b'{"' + b"a" * 8_000_000 + b'": 1}'),
    "8 MB of white space": lambda: ("x.jsonl", b'{"anchor": "' + b" " * 8_000_000 + b'", "positive": "b"}'),
    "8 MB of NUL": lambda: ("x.csv", b"anchor,positive\n" + b"\0" * 8_000_000),
    "8 MB of broken UTF-8": lambda: ("x.csv", b"anchor,positive\n" + b"\xff" * 8_000_000),
    "a million broken lines": lambda: ("x.tsv", b"anchor\tpositive\n" + b"\xff\n" * 1_000_000),
    "a million columns in one row": lambda: ("x.csv", b"anchor,positive\n" + b"," * 1_000_000),
}  # fmt: skip


@pytest.mark.parametrize("case", huge(HUGE, nightly=("a million broken lines", "8 MB of white space")))
def test_huge_invalid_files_are_refused_in_seconds(tmp_path, case):
    assert load_bytes(tmp_path, *HUGE[case]())[1]


@pytest.mark.parametrize("chars", (1_000_000, 1_000_001))
def test_a_passage_of_a_megabyte_is_the_longest(tmp_path, chars):
    long = "p" * chars
    collection, report = load_bytes(tmp_path, "x.csv", f'anchor,positive\nq,"{long}"\n'.encode())
    assert bool(report) == (chars > 1_000_000)
    assert report or collection.passages == (long,)
