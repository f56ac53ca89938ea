"""BEIR folders: their contents as a collection, and the diagnostic of each error."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsweep.config.data import BeirConfig, SplitConfig
from embsweep.data.sources.load import load_collection


def relevant_texts(collection):
    return {
        query: {collection.passages[position] for position in positions}
        for query, positions in zip(collection.queries, collection.relevant, strict=True)
    }


HEADERS = ["", "query-id\tcorpus-id\tscore\n", "query_id\tdoc_id\trelevance\n"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("qrels_name", ["qrels.tsv", "qrels/test.tsv"])
def test_reads_with_and_without_header(write_beir, tmp_path, header, qrels_name):
    config = write_beir(qrels=header + "q1\td1\t1\nq2\td2\t2\nq1\td2\t0\n", qrels_name=qrels_name)
    collection = load_collection(config, tmp_path)
    assert collection.name == "my_set"
    assert relevant_texts(collection) == {"1?": {"one"}, "2?": {"two"}}
    assert collection.merged == (("judgements with a score of 0 or less", 1),)


def test_titles_ids_and_unjudged_passages(write_beir, tmp_path):
    corpus = [
        {"_id": "d1", "title": "Title", "text": " one "},
        {"id": 2, "title": "", "text": "two"},
        {"_id": "d3", "title": None, "text": "unjudged"},
        {"_id": "d4", "title": "Only a title", "text": ""},
    ]
    collection = load_collection(write_beir(corpus, qrels="q1\td1\t1\r\nq2\t2\t1\r\n"), tmp_path)
    assert relevant_texts(collection) == {"1?": {"Title  one"}, "2?": {"two"}}
    assert set(collection.passages) == {"Title  one", "two", "unjudged", "Only a title"}


def test_equal_texts_are_merged_and_counted(write_beir, tmp_path):
    corpus = [{"_id": "d1", "text": "one"}, {"_id": "d2", "text": "one "}, {"_id": "d3", "text": "three"}]
    queries = [{"_id": "q1", "text": "1?"}, {"_id": "q2", "text": "1?"}, {"_id": "q3", "text": "3?"}]
    collection = load_collection(write_beir(corpus, queries, "q1\td1\t1\nq2\td2\t1\nq3\td3\t1\n"), tmp_path)
    assert relevant_texts(collection) == {"1?": {"one"}, "3?": {"three"}}
    assert dict(collection.merged) == {"duplicate passages": 1, "duplicate queries": 1, "duplicate rows": 1}


def test_texts_equal_except_for_case_and_white_space_are_merged_and_counted_separately(write_beir, tmp_path):
    corpus = [
        {"_id": "d1", "text": "One  of them"},
        {"_id": "d2", "text": "one of them"},
        {"_id": "d3", "text": "ONE OF THEM"},
    ]
    queries = [{"_id": "q1", "text": "Who?"}, {"_id": "q2", "text": "who?"}]
    collection = load_collection(write_beir(corpus, queries, "q1\td1\t1\nq2\td2\t1\n"), tmp_path)
    assert relevant_texts(collection) == {"Who?": {"ONE OF THEM"}}
    assert dict(collection.merged) == {
        "normalised duplicate passages": 2,
        "normalised duplicate queries": 1,
        "duplicate rows": 1,
    }


def test_several_queries_of_one_passage_are_not_duplicates(write_beir, tmp_path):
    collection = load_collection(write_beir(qrels="q1\td1\t1\nq2\td1\t1\n"), tmp_path)
    assert collection.merged == ()
    assert collection.relevant[0] == collection.relevant[1]


def test_published_layout_omits_queries_of_other_parts(write_beir, tmp_path):
    collection = load_collection(write_beir(qrels="q1\td1\t1\n", qrels_name="qrels/test.tsv"), tmp_path)
    assert collection.queries == ("1?",)
    assert dict(collection.merged) == {"queries that test.tsv does not judge": 1}


ONE, TWO = {"_id": "d1", "text": "one"}, {"_id": "d2", "text": "two"}
QUERY = {"_id": "q1", "text": "1?"}
INVALID = [
    # files, where, code
    ({"corpus": None}, "data.path", "missing-file"),
    ({"queries": None}, "data.path", "missing-file"),
    ({"qrels": None}, "data.path", "missing-file"),
    ({"corpus": [ONE, TWO, ONE]}, "corpus.jsonl:3", "duplicate-id"),
    ({"queries": [QUERY, QUERY], "qrels": "q1\td1\t1"}, "queries.jsonl:2", "duplicate-id"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq3\td1\t1"}, "qrels.tsv:3", "unknown-id"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq2\td9\t0"}, "qrels.tsv:3", "unknown-id"),
    ({"qrels": "q1\td1\t1\n"}, "queries.jsonl:2", "unanswered-query"),
    ({"qrels": "q1\td1\t1\nq2\td2\t0\n"}, "queries.jsonl:2", "unanswered-query"),
    ({"qrels": "q1\td1\t1\nq2\td2\t0\n", "qrels_name": "qrels/test.tsv"}, "queries.jsonl:2", "unanswered-query"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq1\td1\t0\n"}, "qrels.tsv:3", "conflict"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq1\td2\t0.5\n"}, "qrels.tsv:3", "wrong-type"),
    ({"qrels": "q1\td1\tone\nq1\td1\t1\nq2\td2\t1"}, "qrels.tsv:1", "wrong-type"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq2\t0\td1\t1"}, "qrels.tsv:3", "wrong-length"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\nq2 d1 1"}, "qrels.tsv:3", "wrong-length"),
    ({"qrels": "q1\td1\t1\nq2\td2\t1\n\td1\t1"}, "qrels.tsv:3", "missing-id"),
    ({"corpus": [ONE, {"_id": "d2", "text": " "}]}, "corpus.jsonl:2", "empty"),
    ({"corpus": [ONE, {"_id": "d2", "title": "", "text": ""}]}, "corpus.jsonl:2", "empty"),
    ({"corpus": [ONE, {"_id": "d2", "text": 2}]}, "corpus.jsonl:2", "wrong-type"),
    ({"corpus": [ONE, {"_id": "d2", "title": 0, "text": "two"}]}, "corpus.jsonl:2", "wrong-type"),
    ({"corpus": [ONE, {"_id": "d2", "body": "two"}]}, "corpus.jsonl:2", "missing-column"),
    ({"corpus": [ONE, TWO, {"text": "three"}]}, "corpus.jsonl:3", "missing-id"),
    ({"corpus": [ONE, TWO, {"_id": True, "text": "three"}]}, "corpus.jsonl:3", "missing-id"),
    ({"corpus": [ONE, TWO, {"_id": " ", "text": "three"}]}, "corpus.jsonl:3", "missing-id"),
    ({"corpus": [ONE, TWO, [1]]}, "corpus.jsonl:3", "wrong-type"),
    ({"queries": [QUERY, {"_id": "q2", "text": ""}]}, "queries.jsonl:2", "empty"),
]


@pytest.mark.parametrize(("files", "where", "code"), INVALID)
def test_invalid_folder(write_beir, diagnostics_of, files, where, code):
    (diagnostic,) = diagnostics_of(write_beir(**files))
    assert (diagnostic.code, diagnostic.location) == (code, where)


@pytest.mark.parametrize(("name", "changes"), [("corpus", {"corpus": ""}), ("queries", {"queries": ""})])
def test_empty_files_are_named_first(write_beir, diagnostics_of, name, changes):
    diagnostic = diagnostics_of(write_beir(**changes))[0]
    assert (diagnostic.code, diagnostic.location) == ("empty", f"{name}.jsonl")


@pytest.mark.parametrize(("qrels", "code"), [("", "empty"), (HEADERS[1], "no-rows")])
def test_no_judgements(write_beir, diagnostics_of, qrels, code):
    diagnostic = diagnostics_of(write_beir(qrels=qrels))[0]
    assert (diagnostic.code, diagnostic.location) == (code, "qrels.tsv")


def test_diagnostics_of_all_files_are_listed_together(write_beir, diagnostics_of):
    diagnostics = diagnostics_of(write_beir([ONE, ONE, TWO], [QUERY, {"_id": "q2"}], "q1\td1\tx\nq7\td1\t1\n"))
    assert {diagnostic.location for diagnostic in diagnostics} == {
        "corpus.jsonl:2",
        "queries.jsonl:2",
        "qrels.tsv:1",
        "qrels.tsv:2",
        "queries.jsonl:1",
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [("gone", "missing-file"), ("file", "wrong-file-kind"), ("x" * 300, "unreadable")],
)
def test_invalid_path(tmp_path, diagnostics_of, split_config, name, code):
    (tmp_path / "file").write_text("x")
    (diagnostic,) = diagnostics_of(BeirConfig(kind="beir", path=str(tmp_path / name), split=split_config))
    assert (diagnostic.code, diagnostic.location) == (code, "data.path")


SPLIT = SplitConfig(seed=13, validation=0.1, test=0.1)
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def write_parts(tmp_path):
    def write(**parts):
        (tmp_path / "qrels").mkdir()
        for name, numbers in {"corpus": range(1, 5), "queries": range(1, 5)}.items():
            ids = {"corpus": "d", "queries": "q"}[name]
            rows = [json.dumps({"_id": f"{ids}{n}", "text": f"{ids} {n}"}) for n in numbers]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        for part, judged in parts.items():
            (tmp_path / f"qrels/{part}.tsv").write_text(HEADER + "".join(f"q{n}\td{n}\t1\n" for n in judged))
        return BeirConfig(kind="beir", path=str(tmp_path), split=SPLIT)

    return write


@pytest.mark.parametrize(
    ("parts", "sides"),
    [
        ({"train": [1, 2], "dev": [3], "test": [4]}, {"q 3": "validation", "q 4": "test"}),
        ({"train": [1, 2], "validation": [3]}, {"q 3": "validation"}),
        ({"train": [1, 2], "test": [4]}, {"q 4": "test"}),
        ({"train": [1, 2]}, {}),
        ({"dev": [1, 2], "test": [4]}, {"q 4": "test"}),
        ({"test": [1, 2, 3]}, {}),
    ],
)
def test_train_trains_dev_chooses_and_test_reports(write_parts, tmp_path, parts, sides):
    collection = load_collection(write_parts(**parts), tmp_path)
    assert {collection.queries[query]: side for query, side in collection.sides.items()} == sides
    assert len(collection.queries) == sum(map(len, parts.values()))
    assert len(collection.reading) == 1
    assert len(collection.passages) == 4


def test_a_query_of_training_and_test_is_not_trained_on(write_parts, tmp_path):
    collection = load_collection(write_parts(train=[1, 2], test=[2]), tmp_path)
    assert list(collection.sides.values()) == ["test"]
    assert dict(collection.merged)["queries on two sides, kept on the held-out one only"] == 1


def test_judgements_and_texts_as_parquet(write_parts, tmp_path):
    config = write_parts()
    for name in ("corpus", "queries"):
        (tmp_path / name).mkdir()
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name / "test-00000-of-00001.parquet")
        (tmp_path / f"{name}.jsonl").unlink()
    judged = pa.table({"query-id": ["q1"], "corpus-id": ["d2"], "score": [1.0]})
    pq.write_table(judged, tmp_path / "qrels" / "test-00000-of-00001.parquet")
    assert relevant_texts(load_collection(config, tmp_path)) == {"q 1": {"d 2"}}
