"""BEIR folders in every state of disrepair: refused with faults, or every line of the three files accounted for."""

import json

import pytest
from budget import budget, huge, refused_well
from hypothesis import given
from hypothesis import strategies as st
from wild import broken_lines, good_texts, json_lines, mutations, odd_numbers, texts, trees

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
    return tmp_path_factory.mktemp("wild")


def load(folder, **contents):
    files = GOOD | {f"{name}.{'tsv' if name == 'qrels' else 'jsonl'}": data for name, data in contents.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    found = None
    with refused_well() as diagnostics:
        found = load_collection(BeirConfig(kind="beir", path=str(folder), split=SPLIT), folder)
    assert (found is None) == bool(diagnostics)
    if found is not None:
        check_accounts(found, {name: files[name].decode("utf-8-sig").split("\n") for name in FILES})
    return found, diagnostics


def check_accounts(found, lines):
    """Kept and merged together are the lines of the files."""
    merged = dict(found.merged)

    def lost(*names):
        return sum(merged.get(name, 0) for name in names)

    filled = {name: [line for line in some if line.strip()] for name, some in lines.items()}
    first = lines["qrels.tsv"][0].strip()
    has_header = first.lower().startswith("q") and not first[-1:].isdigit()
    assert len(filled["corpus.jsonl"]) == len(found.passages) + lost(
        "duplicate passages", "normalised duplicate passages"
    )
    assert len(filled["queries.jsonl"]) == len(found.queries) + lost(
        "duplicate queries", "normalised duplicate queries"
    )
    judged = ("duplicate rows", "judgements with a score of 0 or less", "repeated judgements")
    assert len(filled["qrels.tsv"]) - has_header == len(found.judgements) + lost(*judged)


def test_the_unbroken_folder_is_read(folder):
    found, _ = load(folder)
    assert (len(found.queries), len(found.passages), len(found.judgements)) == (3, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@budget(200)
def test_mutated_file_is_refused_or_every_line_counted(folder, name, data):
    load(folder, **{name.split(".")[0]: data.draw(mutations(GOOD[name], most=3))})


def test_repeated_judgements_are_counted(folder):
    found, _ = load(folder, qrels=GOOD["qrels.tsv"] + b"q0\td0\t1\nq2\td3\t0\nq0\td0\t1\n")
    assert dict(found.merged) == {"judgements with a score of 0 or less": 1, "repeated judgements": 3}


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
def test_wild_judgements(folder, lines, end, delimiter):
    good = [("q0", "d0", "1"), ("q1", "d1", "1"), ("q2", "d2", "1")]
    text = end.join(delimiter.join(line) for line in [*lines, *good])
    load(folder, qrels=text.encode("utf-8", "surrogatepass"))


entries = st.fixed_dictionaries(
    {"text": st.one_of(good_texts, texts, trees)},
    optional={"_id": st.one_of(texts, odd_numbers), "id": st.one_of(texts, trees), "title": st.one_of(texts, trees)},
)
fair = st.fixed_dictionaries({"_id": st.sampled_from(["d7", "d8", 9]), "text": good_texts})


@pytest.mark.slow
@given(
    st.lists(st.one_of(json_lines(fair), json_lines(entries), broken_lines), max_size=4),
    st.sampled_from(["corpus", "queries"]),
)
@budget(300)
def test_wild_entries(folder, more, name):
    load(folder, **{name: GOOD[f"{name}.jsonl"] + b"\n" + b"\n".join(more)})


@given(st.lists(good_texts, min_size=1, max_size=5))
@budget(100)
def test_passages_that_nobody_judged_are_kept_or_counted(folder, some):
    more = b"\n".join(json.dumps({"_id": f"x{i}", "text": text}).encode() for i, text in enumerate(some))
    assert not load(folder, corpus=GOOD["corpus.jsonl"] + b"\n" + more)[1]


PLACES = {
    "a loop": lambda path: path.symlink_to(path),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_refused(tmp_path, name, place):
    load(tmp_path)
    (tmp_path / name).unlink()
    PLACES[place](tmp_path / name)
    with refused_well() as diagnostics:
        load_collection(BeirConfig(kind="beir", path=str(tmp_path), split=SPLIT), tmp_path)
    assert diagnostics


@pytest.mark.parametrize("path", ["", "~no-such-user/x", "x" * 5000, "/dev/null", "\x1b[2J"])
def test_paths_that_lead_nowhere(path, tmp_path):
    with refused_well() as diagnostics:
        load_collection(BeirConfig(kind="beir", path=path, split=SPLIT), tmp_path)
    assert diagnostics


HUGE = {
    "an entry of 200,000 keys": lambda: {"corpus": b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b"}"},
    "300,000 dangling judgements": lambda: {"qrels": b"nobody\tnothing\t1\n" * 300_000},
    "200,000 dangling judgements, each another": lambda: {
        "qrels": b"".join(b"n%d\tm%d\t1\n" % (i, i) for i in range(200_000))
    },
    "a judgement of 8 MB": lambda: {"qrels": b"q" * 8_000_000},
    "a million tabs": lambda: {"qrels": b"\t" * 1_000_000},
    "100,000 equal ids": lambda: {"queries": b'{"_id": "q0", "text": "t"}\n' * 100_000},
}


@pytest.mark.parametrize("case", huge(HUGE))
def test_huge_and_wrong_is_refused_in_seconds(tmp_path, case):
    assert load(tmp_path, **HUGE[case]())[1]
