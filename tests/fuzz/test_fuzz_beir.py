"""Damaged BEIR folders: refused with diagnostics, or every line of the three files is accounted for."""

import json

import pytest
from bad_input import broken_lines, good_texts, json_lines, mutations, odd_numbers, texts, trees
from budget import budget, collect_diagnostics, huge
from hypothesis import given
from hypothesis import strategies as st

from embsweep.config.data import BeirConfig, SplitConfig
from embsweep.data.sources.load import load_collection

SPLIT = SplitConfig(seed=1, validation=0.1, test=0.1)
FILES = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
GOOD = {
    "corpus.jsonl": b"\n".join(
        b'{"_id": "d%d", "title": "T", "text": "passage %d \xc3\xa9"}' % (i, i) for i in range(4)
    ),
    "queries.jsonl": b"\n".join(b'{"_id": "q%d", "text": "question %d"}' % (i, i) for i in range(3)),
    "qrels.tsv": b"query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq2\td2\t1\nq2\td3\t0\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("beir")


def load(folder, **contents):
    files = GOOD | {f"{name}.{'tsv' if name == 'qrels' else 'jsonl'}": data for name, data in contents.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    collection = None
    with collect_diagnostics() as diagnostics:
        collection = load_collection(BeirConfig(kind="beir", path=str(folder), split=SPLIT), folder)
    assert (collection is None) == bool(diagnostics)
    if collection is not None:
        check_line_counts(collection, {name: files[name].decode("utf-8-sig").split("\n") for name in FILES})
    return collection, diagnostics


def check_line_counts(collection, lines):
    """Check that the entries kept and merged add up to the lines of the files."""
    merged = dict(collection.merged)

    def lost(*names):
        return sum(merged.get(name, 0) for name in names)

    filled = {name: [line for line in content if line.strip()] for name, content in lines.items()}
    first = lines["qrels.tsv"][0].strip()
    has_header = first.lower().startswith("q") and not first[-1:].isdigit()
    assert len(filled["corpus.jsonl"]) == len(collection.passages) + lost(
        "duplicate passages", "normalised duplicate passages"
    )
    assert len(filled["queries.jsonl"]) == len(collection.queries) + lost(
        "duplicate queries", "normalised duplicate queries"
    )
    judged = ("duplicate rows", "judgements with a score of 0 or less", "repeated judgements")
    assert len(filled["qrels.tsv"]) - has_header == len(collection.judgements) + lost(*judged)


def test_the_valid_folder_is_read(folder):
    collection, _ = load(folder)
    assert (len(collection.queries), len(collection.passages), len(collection.judgements)) == (3, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@budget(200)
def test_a_mutated_file_is_refused_or_every_line_counted(folder, name, data):
    load(folder, **{name.split(".")[0]: data.draw(mutations(GOOD[name], most=3))})


def test_repeated_judgements_are_counted(folder):
    collection, _ = load(folder, qrels=GOOD["qrels.tsv"] + b"q0\td0\t1\nq2\td3\t0\nq0\td0\t1\n")
    assert dict(collection.merged) == {"judgements with a score of 0 or less": 1, "repeated judgements": 3}


ids = st.one_of(
    st.sampled_from([f"q{i}" for i in range(3)] + [f"d{i}" for i in range(4)]), texts, st.just("q0 "), st.just("Q0")
)
scores = st.one_of(
    st.sampled_from([
        "1", "0", "-1", "2", "1.0", "nan", "inf", "", "1e3", "٣", "+1", " 1 ", "9" * 400, "0x1", "1_0", "-0",
    ]),
    texts,
)  # fmt: skip
qrels_lines = st.one_of(
    st.tuples(
        st.sampled_from(["q0", "q1", "q2"]),
        st.sampled_from(["d0", "d1", "d2", "d3"]),
        st.sampled_from(["1", "0", "-3"]),
    ),
    st.tuples(ids, ids, scores),
    st.lists(ids, max_size=5),
    st.just(("query-id", "corpus-id", "score")),
)


@pytest.mark.slow
@given(st.lists(qrels_lines, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["\t", " ", ","]))
@budget(300)
def test_arbitrary_judgements(folder, lines, end, delimiter):
    valid = [("q0", "d0", "1"), ("q1", "d1", "1"), ("q2", "d2", "1")]
    text = end.join(delimiter.join(line) for line in [*lines, *valid])
    load(folder, qrels=text.encode("utf-8", "surrogatepass"))


entries = st.fixed_dictionaries(
    {"text": st.one_of(good_texts, texts, trees)},
    optional={"_id": st.one_of(texts, odd_numbers), "id": st.one_of(texts, trees), "title": st.one_of(texts, trees)},
)
valid_entries = st.fixed_dictionaries({"_id": st.sampled_from(["d7", "d8", 9]), "text": good_texts})


@pytest.mark.slow
@given(
    st.lists(st.one_of(json_lines(valid_entries), json_lines(entries), broken_lines), max_size=4),
    st.sampled_from(["corpus", "queries"]),
)
@budget(300)
def test_arbitrary_entries(folder, more, name):
    load(folder, **{name: GOOD[f"{name}.jsonl"] + b"\n" + b"\n".join(more)})


@given(st.lists(good_texts, min_size=1, max_size=5))
@budget(100)
def test_unjudged_passages_are_kept_or_counted(folder, passages):
    more = b"\n".join(json.dumps({"_id": f"x{i}", "text": text}).encode() for i, text in enumerate(passages))
    assert not load(folder, corpus=GOOD["corpus.jsonl"] + b"\n" + more)[1]


NOT_FILES = {
    "a loop": lambda path: path.symlink_to(path),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", NOT_FILES)
@pytest.mark.parametrize("name", FILES)
def test_a_path_that_is_not_a_file_is_refused(tmp_path, name, kind):
    load(tmp_path)
    (tmp_path / name).unlink()
    NOT_FILES[kind](tmp_path / name)
    with collect_diagnostics() as diagnostics:
        load_collection(BeirConfig(kind="beir", path=str(tmp_path), split=SPLIT), tmp_path)
    assert diagnostics


@pytest.mark.parametrize("path", ["", "~no-such-user/x", "x" * 5000, "/dev/null", "\x1b[2J"])
def test_invalid_paths_are_refused(path, tmp_path):
    with collect_diagnostics() as diagnostics:
        load_collection(BeirConfig(kind="beir", path=path, split=SPLIT), tmp_path)
    assert diagnostics


HUGE = {
    "an entry of 200,000 keys": lambda: {"corpus": b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b"}"},
    "300,000 dangling judgements": lambda: {"qrels": b"unknown\tmissing\t1\n" * 300_000},
    "200,000 distinct dangling judgements": lambda: {
        "qrels": b"".join(b"n%d\tm%d\t1\n" % (i, i) for i in range(200_000))
    },
    "a judgement of 8 MB": lambda: {"qrels": b"q" * 8_000_000},
    "a million tabs": lambda: {"qrels": b"\t" * 1_000_000},
    "100,000 equal ids": lambda: {"queries": b'{"_id": "q0", "text": "t"}\n' * 100_000},
}


@pytest.mark.parametrize("case", huge(HUGE))
def test_huge_invalid_files_are_refused_in_seconds(tmp_path, case):
    assert load(tmp_path, **HUGE[case]())[1]
