"""Memory that a file would take is bounded before it is taken."""

import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.refusals import raises_diagnostics

from embsweep.core import machine_memory
from embsweep.data import encodings, sizes
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.readers.open import open_table
from embsweep.data.text import parse_text

MIB = 2**20


@pytest.fixture
def small_memory(monkeypatch):
    """A process that may take four mebibytes more: one of text."""
    monkeypatch.setattr(sizes, "available_bytes", lambda: 4 * MIB)


def write_dictionary(path, *, nested):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 1000]))
    column = pa.ListArray.from_arrays(pa.array(range(3001), pa.int32()), texts) if nested else texts
    pq.write_table(pa.table({"anchor": [f"q{i}" for i in range(3000)], "positive": column}), path)


def write_saved(path):
    """Write what `datasets` saves, with one text as a dictionary, as its own files have none."""
    datasets.Dataset.from_dict({"anchor": ["q"], "positive": ["p"]}).save_to_disk(str(path))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 1000]))
    table = pa.table({"anchor": ["q"] * 3000, "positive": texts})
    with pa.ipc.new_stream(path / "data-00000-of-00001.arrow", table.schema) as file:
        file.write_table(table)


def write_gzip(path):
    with gzip.open(path, "wb") as file:
        file.write(b" " * (2 * MIB))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", lambda path: write_dictionary(path, nested=False)),
        ("b.parquet", lambda path: write_dictionary(path, nested=True)),
        ("c.jsonl.gz", write_gzip),
        ("e", write_saved),
        ("d.jsonl", lambda path: path.write_text(json.dumps({"anchor": "q", "positive": "x" * 2 * MIB}))),
    ],
)
def test_a_file_that_unfolds_to_more_than_the_memory_is_refused(small_memory, tmp_path, name, write):
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < MIB or name == "d.jsonl"
    diagnostics = DiagnosticList()
    assert list(open_table(tmp_path / name, diagnostics).read(("anchor", "positive"))) == []
    with raises_diagnostics(("not-enough-memory", name)):
        diagnostics.raise_if_any()


def test_what_fits_is_read_as_it_is(tmp_path):
    write_dictionary(tmp_path / "a.parquet", nested=True)
    diagnostics = DiagnosticList()
    rows = list(open_table(tmp_path / "a.parquet", diagnostics).read(("anchor", "positive")))
    assert len(rows) == 3000
    assert rows[7] == ("a.parquet:8", {"anchor": "q7", "positive": ["x" * 1000]})
    assert not len(diagnostics)


def test_without_known_limits_everything_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(sizes, "available_bytes", lambda: None)
    write_gzip(tmp_path / "a.txt.gz")
    diagnostics = DiagnosticList()
    encodings.read_text_file(tmp_path / "a.txt.gz", diagnostics)
    with raises_diagnostics(("empty", "a.txt.gz")):
        diagnostics.raise_if_any()


def test_a_text_that_no_model_reads_is_refused_with_its_length():
    diagnostics = DiagnosticList()
    assert parse_text("x" * 1_000_001, "a.jsonl:1", "positive", diagnostics) is None
    with raises_diagnostics(("too-many", "a.jsonl:1")) as caught:
        diagnostics.raise_if_any()
    assert "1,000,001" in str(caught.value)


def test_the_smallest_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   900 kB\n")
    (tmp_path / "status").write_text("Name: x\nVmSize:    100 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(machine_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine_memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(machine_memory, "_GROUP", tmp_path)
    monkeypatch.setattr(machine_memory.resource, "getrlimit", lambda _: (machine_memory.resource.RLIM_INFINITY, 0))
    assert machine_memory.available_bytes() == 900 * 1024
    (tmp_path / "memory.max").write_text("500000\n")
    (tmp_path / "memory.current").write_text("100000\n")
    assert machine_memory.available_bytes() == 400_000
    monkeypatch.setattr(machine_memory.resource, "getrlimit", lambda _: (300 * 1024, 0))
    assert machine_memory.available_bytes() == 200 * 1024
