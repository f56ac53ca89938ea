"""Slices of the queries: read from every source, carried to the test split, without an effect on the split."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsweep.config.data import DocstringsConfig
from embsweep.core.names import NO_SLICE, OTHER_SLICES
from embsweep.data.slices import LONGEST_LABEL, MOST_SLICES, choose_slices, merge_rare_slices, to_label
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection

LABELS = [None, "de", "en", " de ", "e\x1bn", ""]
CSV = "query,answer,lang\n" + "".join(f"q{n},p{n},{LABELS[n % 6] or ''}\n" for n in range(60))


def read(config, tmp_path):
    collection = load_collection(config, tmp_path / "cache")
    return collection, dict(zip(collection.queries, collection.slices, strict=True))


def test_a_column_becomes_the_label_of_each_test_query_and_changes_nothing_else(tmp_path, files_config):
    (tmp_path / "x.csv").write_text(CSV)
    splits = {}
    for name in (None, "lang"):
        config = files_config(tmp_path / "x.csv", slice=name)
        splits[name] = split_collection(load_collection(config, tmp_path), config.split, None)
    plain, sliced = splits[None], splits["lang"]
    assert (sliced.fingerprint, sliced.train, sliced.notes) == (plain.fingerprint, plain.train, plain.notes)
    for side in ("validation", "test"):
        before, after = getattr(plain, side), getattr(sliced, side)
        assert (after.queries, after.corpus, after.relevant) == (before.queries, before.corpus, before.relevant)
        assert before.slices == ()
        assert after.slices == tuple(to_label(LABELS[int(query[1:]) % 6] or "") for query in after.queries)
    assert any("queries without a value of data.slice, in the slice (none): 20" in line for line in sliced.reading)
    assert len(pickle.dumps(sliced.validation)) - len(pickle.dumps(plain.validation)) < 100, "labels travel once"


def test_values_of_all_kinds_become_labels(tmp_path, files_config, diagnostics_of):
    table = pa.table({"q": ["a?", "b?", "c?"], "p": ["x", "y", "z"], "meta": [{"year": 2024}, {"year": None}, None]})
    pq.write_table(table, tmp_path / "x.parquet")
    columns = {"anchor": "q", "positive": "p"}
    found = read(files_config(tmp_path / "x.parquet", slice="meta.year", **columns), tmp_path)[1]
    assert found == {"a?": "2024", "b?": NO_SLICE, "c?": NO_SLICE}
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet", slice="meta", **columns))
    assert (diagnostic.code, "'meta' is not one value" in diagnostic.message) == ("wrong-type", True)
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet", slice="meta.yaer", **columns))
    assert (diagnostic.code, diagnostic.location) == ("no-effect", "data.slice")
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.parquet", slice="mets", **columns))
    assert (diagnostic.code, "meta" in diagnostic.hint) == ("missing-column", True)


def test_a_field_of_the_queries_of_a_beir_folder(write_beir, tmp_path, diagnostics_of):
    queries = [{"_id": "q1", "text": "1?", "metadata": {"lang": "de"}}, {"_id": "q2", "text": "2?", "metadata": {}}]
    config = write_beir(queries=queries)
    assert read(config.model_copy(update={"slice": "metadata.lang"}), tmp_path)[1] == {"1?": "de", "2?": NO_SLICE}
    (diagnostic,) = diagnostics_of(config.model_copy(update={"slice": "metdata.lang"}))
    assert diagnostic.code == "missing-column"
    assert "metadata" in diagnostic.hint


@pytest.mark.slow
def test_docstrings_have_their_package(split_config, tmp_path):
    config = DocstringsConfig(kind="docstrings", packages=("hydra", "omegaconf"), slice="package", split=split_config)
    collection, _ = read(config, tmp_path)
    assert set(collection.slices) == {"hydra", "omegaconf"}


def test_several_values_are_decided_by_most_rows_in_any_order():
    rows = [(0, "de"), (0, "en"), (0, "en"), (1, "fr"), (1, "de"), (2, NO_SLICE), (2, "en"), (3, NO_SLICE)]
    expected = ("en", "de", "en", NO_SLICE)
    for order in (rows, rows[::-1]):
        labels, notes = choose_slices(order, 4)
        assert labels == expected
        assert [note.rpartition(" ")[2] for note in notes] == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (" a\x07\u0085 b\n", "a b"),
        (7, "7"),
        (True, "True"),
        ("\x00", NO_SLICE),
        ("\ud800x", "x"),
        ("a\u202eb\u2069", "ab"),
        ("x" * 999, "x" * LONGEST_LABEL + "…"),
    ],
)
def test_labels_are_one_short_line(value, label):
    assert to_label(value) == label


def test_the_smallest_of_many_slices_are_merged():
    few = [f"s{number}" for number in range(MOST_SLICES)]
    assert merge_rare_slices(few) == (tuple(few), 0)
    many = [*few, *few, "rare", "s0"]
    labels, merged = merge_rare_slices(many)
    changed = [(old, label) for old, label in zip(many, labels, strict=True) if label != old]
    assert merged == 2
    assert changed == [("s9", OTHER_SLICES), ("s9", OTHER_SLICES), ("rare", OTHER_SLICES)]
