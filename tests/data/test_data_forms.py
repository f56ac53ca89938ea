"""Files as people have them: forms, lists, negatives, scores, groups, and what is said about how they were read."""

from __future__ import annotations

import gzip
import json
import math

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.refusals import codes_and_locations

from embsweep.data.sources.load import load_collection

ROWS = [{"anchor": f"what is {n}?", "positive": f"it is {n}"} for n in range(4)]
TEXTS = [(row["anchor"], row["positive"]) for row in ROWS]
LLAMA_INDEX = {
    "queries": {"a": "what is 0?", "b": "what is 1?"},
    "corpus": {"x": "it is 0", "y": "it is 1", "z": "nobody asks"},
    "relevant_docs": {"a": ["x"], "b": ["y"]},
}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def texts(collection):
    return [(collection.queries[j.query], collection.passages[j.passage]) for j in collection.judgements]


def negatives(collection):
    return [[collection.passages[number] for number in j.negatives] for j in collection.judgements]


@pytest.fixture
def read(tmp_path, files_config):
    def load(name, content, **changes):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_collection(files_config(path, **changes), tmp_path)

    return load


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", lines(ROWS)),
        ("x.json", json.dumps(ROWS)),
        ("x.json", json.dumps(ROWS, indent=1)),
        ("x.jsonl", json.dumps(ROWS)),
        ("x.json", json.dumps({"version": 1, "data": ROWS})),
        ("x.json", json.dumps({key: [row[key] for row in ROWS] for key in ("anchor", "positive")})),
        ("x.json", json.dumps({key: {n: row[key] for n, row in enumerate(ROWS)} for key in ("anchor", "positive")})),
        ("x.jsonl.gz", gzip.compress(lines(ROWS).encode(), mtime=0)),
        ("x.csv.gz", gzip.compress(b"anchor,positive\n" + "".join(f"{q},{p}\n" for q, p in TEXTS).encode(), mtime=0)),
        ("x.csv", "anchor;positive\n" + "".join(f"{q};{p}\n" for q, p in TEXTS)),
        ("x.csv", "sep=;\r\nanchor;positive\r\n" + "".join(f"{q};{p}\r\n" for q, p in TEXTS)),
        ("x.csv", b"\xef\xbb\xbfanchor\tpositive\n" + "".join(f"{q}\t{p}\n" for q, p in TEXTS).encode()),
        ("x.csv", ("anchor\tpositive\n" + "".join(f"{q}\t{p}\n" for q, p in TEXTS)).encode("utf-16")),
        ("x.csv", "anchor,positive,,\n" + "".join(f"{q},{p},,\n" for q, p in TEXTS) + ",,,\n" * 9),
        ("x.csv", "question,answer\n" + "".join(f"{q},{p}\n" for q, p in TEXTS)),
        ("x.jsonl", lines({"query": q, "passage": p} for q, p in TEXTS)),
        ("x.jsonl", lines({"query": q, "pos": [p], "neg": []} for q, p in TEXTS)),
        ("x.jsonl", lines({"query": q, "positive_passages": [{"docid": 1, "text": p}]} for q, p in TEXTS)),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_pairs(read, name, content):
    assert texts(read(name, content)) == TEXTS


def test_a_qa_data_set_of_llama_index(read):
    collection = read("x.json", json.dumps(LLAMA_INDEX))
    assert texts(collection) == TEXTS[:2]
    assert "nobody asks" in collection.passages


def test_a_qa_data_set_with_an_unknown_id(tmp_path, files_config, diagnostics_of):
    (tmp_path / "x.json").write_text(json.dumps({**LLAMA_INDEX, "relevant_docs": {"a": ["q"]}}))
    assert codes_and_locations(diagnostics_of(files_config(tmp_path / "x.json"))) == [("unknown-id", "x.json:1")]


def test_saved_data_sets(tmp_path, files_config):
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "one"))
    parts = {"train": whole.select([0, 1]), "dev": whole.select([2]), "test": whole.select([3])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "parts"))
    assert texts(load_collection(files_config(tmp_path / "one"), tmp_path)) == TEXTS
    collection = load_collection(files_config(tmp_path / "parts"), tmp_path)
    assert (collection.name, collection.sides) == ("parts", {2: "validation", 3: "test"})


@pytest.mark.parametrize("pairs", [("a.jsonl", "b.csv"), ("*.jsonl", "b.csv"), ("[ab].*",), ("a.jsonl", "*.*")])
def test_several_files_and_patterns(tmp_path, files_config, pairs):
    (tmp_path / "a.jsonl").write_text(lines(ROWS[:2]))
    (tmp_path / "b.csv").write_text("anchor,positive\n" + "".join(f"{q},{p}\n" for q, p in TEXTS[2:]))
    config = files_config("x").model_copy(update={"pairs": tuple(str(tmp_path / name) for name in pairs)})
    collection = load_collection(config, tmp_path)
    assert texts(collection) == TEXTS
    assert dict(collection.merged) == {}


def test_a_test_file_that_a_pattern_names_is_said(tmp_path, files_config):
    for name, rows in (("train", ROWS[:3]), ("test", ROWS[3:])):
        (tmp_path / f"{name}.jsonl").write_text(lines(rows))
    reading = load_collection(files_config(tmp_path / "*.jsonl"), tmp_path).reading
    assert ["data.test_pairs" in line for line in reading] == [True]


def test_one_path_is_recorded_as_before_there_could_be_several(files_config):
    assert files_config("x.jsonl", negative="n").model_dump(mode="json")["pairs"] == "x.jsonl"
    assert files_config("x.jsonl", negative="n").model_dump(mode="json")["negative"] == "n"


FLAG = [
    {"query": "a?", "pos": ["p", "q"], "neg": ["n", "", "m"], "pos_scores": [0.9, 0.1]},
    {"query": "b?", "pos": "r"},
]


def test_lists_of_positives_and_negatives(read):
    collection = read("x.jsonl", lines(FLAG))
    assert texts(collection) == [("a?", "p"), ("a?", "q"), ("b?", "r")]
    assert negatives(collection) == [["n", "m"], ["n", "m"], []]
    assert dict(collection.merged) == {"rows without a hard negative": 1}
    assert "columns recognised: data.anchor=query data.positive=pos data.negative=neg" in collection.reading


ABSENT = [{"neg": ""}, {"neg": None}, {}, {"neg": []}, {"neg": [None, " "]}, {"neg": math.nan}]


@pytest.mark.parametrize("absent", ABSENT)
def test_a_row_without_negative_has_none(read, absent):
    rows = [{"query": "a?", "pos": "p", "neg": "n"}, {"query": "b?", "pos": "q", **absent}]
    collection = read("x.jsonl", lines(rows))
    assert negatives(collection) == [["n"], []]
    assert "" not in collection.passages
    assert dict(collection.merged) == {"rows without a hard negative": 1}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"negative": "negative_*"}, [f"n{k}" for k in range(1, 11)]),
        ({"negative": ["negative_10", "negative_2"]}, ["n10", "n2"]),
        ({"negative": "negative_*", "max_negatives": 2}, ["n1", "n2"]),
        ({}, []),
        ({"negative": []}, []),
    ],
)
def test_columns_of_negatives(read, changes, kept):
    row = {"anchor": "a?", "positive": "p", **{f"negative_{k}": f"n{k}" for k in (10, *range(1, 10))}}
    assert negatives(read("x.jsonl", lines([row]), **changes)) == [kept]


def test_of_a_list_the_first_seven_negatives_are_kept_and_the_others_counted(read):
    collection = read("x.jsonl", lines([{"query": "a?", "pos": "p", "neg": [f"n{k}" for k in range(9)]}]))
    assert negatives(collection) == [[f"n{k}" for k in range(7)]]
    assert dict(collection.merged) == {"hard negatives beyond data.max_negatives, left out": 2}


def test_negatives_in_a_list_that_answer_their_query_are_left_out_and_counted(read):
    collection = read("x.jsonl", lines([{"query": "a?", "pos": ["p"], "neg": ["p ", "n"]}]))
    assert negatives(collection) == [["n"]]
    assert dict(collection.merged) == {"hard negatives left out because they answer their own query": 1}


@pytest.mark.parametrize(
    ("scores", "changes", "kept"),
    [
        ([0, 1, 2], {}, ["p1", "p2"]),
        (["0", "0,4", "0,5"], {"min_score": 0.45}, ["p2"]),
        ([True, False, True], {}, ["p0", "p2"]),
        ([-1.0, 0.5, 3], {"min_score": -1.0}, ["p0", "p1", "p2"]),
    ],
)
def test_pairs_of_low_score_are_left_out_and_counted(read, scores, changes, kept):
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "grade": score} for n, score in enumerate(scores)]
    collection = read("x.jsonl", lines(rows), score="grade", **changes)
    assert [passage for _, passage in texts(collection)] == kept
    left = {"pairs left out because of data.score": 3 - len(kept)}
    assert dict(collection.merged) == {what: count for what, count in left.items() if count}


def test_a_score_for_each_positive(read):
    assert texts(read("x.jsonl", lines(FLAG[:1]), score="pos_scores", min_score=0.5)) == [("a?", "p")]


@pytest.mark.parametrize("values", [[1, 0], ["1", "0"], [True, False], ["entailment", "contradiction"], [0.7, -0.2]])
def test_a_label_column_that_marks_rows_as_not_relevant_is_noticed(tmp_path, files_config, diagnostics_of, values):
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "label": value} for n, value in enumerate(values)]
    (tmp_path / "x.jsonl").write_text(lines(rows))
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.jsonl"))
    assert (diagnostic.code, diagnostic.location) == ("ambiguous", "x.jsonl:2")
    assert "data.score=label" in str(diagnostic)


@pytest.mark.parametrize("values", [[1, 1], ["tax", "traffic"], [0, 0]])
def test_a_label_column_without_such_rows_is_no_error(read, values):
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "label": value} for n, value in enumerate(values)]
    assert len(texts(read("x.jsonl", lines(rows)))) == 2


def test_labels_beside_the_passages_of_an_object_are_noticed(tmp_path, files_config, diagnostics_of, read):
    hits = {"passage_text": ["p", "r"], "is_selected": [0, 1]}
    content = lines([{"query": "a?", "passages": hits, "answers": ["yes"]}])
    (tmp_path / "x.jsonl").write_text(content)
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.jsonl"))
    assert (diagnostic.code, "'passages'" in diagnostic.hint) == ("missing-column", True)
    diagnostic = diagnostics_of(files_config(tmp_path / "x.jsonl", positive="passages"))[-1]
    assert "passages.passage_text" in diagnostic.expected
    named = {"positive": "passages.passage_text"}
    (diagnostic,) = diagnostics_of(files_config(tmp_path / "x.jsonl", **named))
    assert (diagnostic.code, "data.score=passages.is_selected" in str(diagnostic)) == ("ambiguous", True)
    assert texts(read("x.jsonl", content, **named, score="passages.is_selected")) == [("a?", "r")]


def test_rows_of_a_group_are_connected(read):
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "doc": doc} for n, doc in enumerate(["x", "y", "x", None])]
    collection = read("x.jsonl", lines(rows), group="doc")
    assert collection.groups == ((0,), (1,), (0,), ())
    assert dict(collection.merged) == {"rows without data.group": 1}


def test_own_validation_and_test_pairs(tmp_path, files_config):
    for name, rows in (("train", ROWS[:3]), ("dev", ROWS[2:3]), ("test", ROWS[3:])):
        (tmp_path / f"{name}.jsonl").write_text(lines(rows))
    (tmp_path / "kb.jsonl").write_text(lines([{"title": "T", "text": "further"}, {"text": " "}]))
    names = {"validation_pairs": "dev", "test_pairs": "test", "corpus": "kb"}
    changes = {key: str(tmp_path / f"{name}.jsonl") for key, name in names.items()}
    collection = load_collection(files_config(tmp_path / "train.jsonl", **changes), tmp_path)
    assert collection.sides == {2: "validation", 3: "test"}
    assert "T further" in collection.passages
    merged = dict(collection.merged)
    assert merged["queries on two sides, kept on the held-out one only"] == 1
    assert merged["passages of data.corpus without text, passed over"] == 1


def test_nested_parquet_columns(tmp_path, files_config):
    table = pa.table({"q": [{"text": "a?"}], "hits": [[{"text": "p"}, {"text": "r"}]], "bad": [["n", "m"]]})
    pq.write_table(table, tmp_path / "x.parquet")
    config = files_config(tmp_path / "x.parquet", anchor="q.text", positive="hits", negative="bad")
    collection = load_collection(config, tmp_path)
    assert texts(collection) == [("a?", "p"), ("a?", "r")]
    assert negatives(collection) == [["n", "m"]] * 2


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        ("Frage;Lösung\nWie hoch?;fünf\n".encode("cp1252"), {}, "cp1252"),
        ("Вопрос;Ответ\nКак подать заявление?;Заявление подаётся лично в городе\n".encode("cp1251"), {}, "cp1251"),
        ("Pytanie;Odpowiedź\nJak złożyć?;Wniosek się składa\n".encode("cp1250"), {"encoding": "cp1250"}, ""),
        ("Frage~Lösung\nWie hoch?~fünf\n".encode(), {"delimiter": "~"}, ""),
        ("Frage|Lösung\nWie hoch?|fünf\n".encode(), {"delimiter": "pipe"}, ""),
    ],
)  # fmt: skip
def test_encoding_and_delimiter_of_spreadsheets(read, content, changes, said):
    header, row = content.decode(said or changes.get("encoding", "utf-8")).splitlines()
    mark = changes.get("delimiter", ";").replace("pipe", "|")
    anchor, positive = header.split(mark)
    collection = read("x.csv", content, anchor=anchor, positive=positive, **changes)
    assert texts(collection) == [tuple(row.split(mark))]
    assert said in " ".join(collection.reading)


def test_rows_of_separators_alone_are_counted(read):
    collection = read("x.csv", "anchor;positive\na?;p\n;\n ; \nb?;q\n;;;\n")
    assert texts(collection) == [("a?", "p"), ("b?", "q")]
    assert dict(collection.merged) == {"rows of separators alone, passed over": 3}


def test_commas_in_quoted_texts_do_not_mislead_the_detection_of_the_delimiter(read):
    rows = "".join(f'what is {n}?;"a, b, c; {n}"\n' for n in range(9))
    assert texts(read("x.csv", "anchor;positive\n" + rows))[0] == ("what is 0?", "a, b, c; 0")


@pytest.mark.parametrize(
    ("name", "content", "code", "hint"),
    [
        ("x.xlsx", "PK", "wrong-file-kind", "libreoffice"),
        ("x.zip", "PK", "wrong-file-kind", "unzip x.zip"),
        (
            "x.jsonl",
            lines([{"question": "a", "context": "c", "answer": "b"}]),
            "missing-column",
            "data.positive=answer",
        ),
        ("x.csv", "Titel,Inhalt\na,b\n", "missing-column", "data.anchor=Titel data.positive=Inhalt"),
        ("x.json", json.dumps({"data": [{"paragraphs": []}]}), "wrong-file-kind", "jq"),
        ("x.jsonl", '["a", "b"]\n["c", "d"]\n', "wrong-type", "jq"),
        ("x.json", json.dumps(dict(enumerate(ROWS))), "wrong-file-kind", "jq -c '.[]' x.json"),
        ("x.json", json.dumps({f"{n}?": "a" for n in range(99)}), "wrong-file-kind", "to_entries"),
        ("x.csv", "Export;\nanchor;positive\na;b\n", "missing-column", "set data.anchor"),
        ("x.json", json.dumps([["a", "b"], ["c", "d"]]), "wrong-type", "jq -c '.[] |"),
        ("x.json", "\n".join(json.dumps(row, indent=1) for row in ROWS), "bad-format", "jq -c . OLD"),
        ("x.jsonl", lines([{"messages": [{"role": "user"}]}]), "missing-column", '"assistant"'),
        ("x.jsonl", lines([{"messages": [], "positive_messages": []}]), "missing-column", ".positive_messages[0]"),
        ("x.jsonl", lines([{"anchor": ["a"], "positive": "b"}]), "wrong-type", ""),
        ("x.csv", "anchor,positive\na,\"['b', 'c']\"\n", "wrong-type", "to_json"),
        ("x.jsonl.gz", lines(ROWS), "bad-format", ""),
        ("x.csv", "PK\3\4\0\0", "wrong-file-kind", "CSV UTF-8"),
        ("x.json", "PAR1\0", "wrong-file-kind", "mv x.json x.parquet"),
        ("x.parquet", "version https://git-lfs.github.com/spec/v1\n", "wrong-file-kind", "git lfs pull"),
        ("x.jsonl", "<!DOCTYPE html>\n", "wrong-file-kind", "raw"),
        ("x.json", json.dumps(ROWS, indent=1)[:-9], "bad-format", ""),
    ],
)
def test_other_forms_are_refused_with_what_to_do(tmp_path, files_config, diagnostics_of, name, content, code, hint):
    (tmp_path / name).write_text(content)
    diagnostic = diagnostics_of(files_config(tmp_path / name))[0]
    assert diagnostic.code == code
    assert hint in str(diagnostic)


def test_a_beir_folder_and_a_folder_of_files_are_answered_with_their_command(tmp_path, files_config, diagnostics_of):
    for folder, name in (("set", "corpus.jsonl"), ("set", "queries.jsonl"), ("more", "a.csv")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("")
    assert "data=beir data.path=" in str(diagnostics_of(files_config(tmp_path / "set"))[0])
    assert "/more/*.csv" in str(diagnostics_of(files_config(tmp_path / "more"))[0])


def test_an_address_is_answered_with_a_download(files_config, diagnostics_of):
    (diagnostic,) = diagnostics_of(files_config("https://example.org/x.jsonl"))
    assert diagnostic.hint == "download it first: curl -LO https://example.org/x.jsonl"


def test_a_folder_with_train_and_test_is_answered_with_a_key_for_each(tmp_path, files_config, diagnostics_of):
    for name in ("train.jsonl", "dev.jsonl.gz", "test.jsonl", "readme.md"):
        (tmp_path / name).write_text("")
    (diagnostic,) = diagnostics_of(files_config(tmp_path))
    keys = {"pairs": "train.jsonl", "validation_pairs": "dev.jsonl.gz", "test_pairs": "test.jsonl"}
    assert diagnostic.hint == " ".join(f"data.{key}={tmp_path / name}" for key, name in keys.items())


def test_a_file_for_validation_and_test_is_refused(tmp_path, files_config, diagnostics_of):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text('{"anchor": "a", "positive": "b"}\n')
    same = str(tmp_path / "dev.jsonl")
    found = diagnostics_of(files_config(tmp_path / "train.jsonl", validation_pairs=same, test_pairs=same))
    assert [(diagnostic.code, diagnostic.location, diagnostic.value) for diagnostic in found] == [
        ("conflict", "data.validation_pairs", same)
    ]
