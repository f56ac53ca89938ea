"""Pairs become one collection: equal texts are one, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.data.collection import Judgement, Pair
from embsweep.data.corpus import build_collection
from embsweep.errors import InputError

TEXTS = st.sampled_from(["a", "b", "c ", " c", "d\u00a0", "d", "ß", "ss", "é", "e\u0301", "A"])


def test_numbers_follow_first_appearance_and_counts_are_kept():
    pairs = [Pair("a?", "p"), Pair("b?", " p"), Pair("a? ", "q"), Pair("a?", "p\n"), Pair("c?", "r")]
    collection = build_collection("x", pairs, ["r", "s", "s "])
    assert collection.queries == ("a?", "b?", "c?")
    assert collection.passages == ("p", "q", "r", "s")
    assert collection.judgements == (Judgement(0, 0), Judgement(1, 0), Judgement(0, 1), Judgement(2, 2))
    assert collection.relevant == ((0, 1), (0,), (2,))
    assert dict(collection.merged) == {"duplicate queries": 2, "duplicate passages": 3, "duplicate rows": 1}


def test_nothing_merged_is_nothing_told():
    assert build_collection("x", [Pair("a", "p", "n"), Pair("b", "q", "n")]).merged == ()


def test_negatives_are_passages_and_several_to_a_pair_stay():
    collection = build_collection("x", [Pair("a", "p", "n"), Pair("a", "p", "q"), Pair("b", "q", "p")])
    assert collection.passages == ("p", "n", "q")
    assert collection.judgements == (Judgement(0, 0, 1), Judgement(0, 0, 2), Judgement(1, 2, 0))


@pytest.mark.parametrize(
    ("pairs", "where", "message"),
    [
        ([Pair("a", "p", "p ", place="x:1")], "x:1", "its negative is a relevant passage of the same question"),
        ([Pair("a", "p", "q", place="x:1"), Pair("a", "q", "n", place="x:2")], "x:1", "got 'q'"),
        ([Pair("a", "p", "n", place="x:1"), Pair("b", "q", place="x:2")], "x:2", "has no negative"),
        ([Pair("a", "p", "p")], "data", "its negative"),
        ([], "data", "there are no pairs"),
    ],
)
def test_contradictions(pairs, where, message):
    with pytest.raises(InputError) as caught:
        build_collection("x", pairs)
    (fault,) = caught.value.faults
    assert fault.where == where
    assert message in str(fault)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1), st.lists(TEXTS))
def test_every_pair_is_there_once_and_texts_are_distinct(rows, extra):
    collection = build_collection("x", [Pair(*row) for row in rows], extra)
    assert len(set(collection.queries)) == len(collection.queries)
    assert len(set(collection.passages)) == len(collection.passages)
    found = [(collection.queries[j.query], collection.passages[j.passage]) for j in collection.judgements]
    assert found == list(dict.fromkeys((anchor.strip(), positive.strip()) for anchor, positive in rows))
    assert set(collection.passages) == {text.strip() for _, text in rows} | {text.strip() for text in extra}
    merged = dict(collection.merged)
    assert merged.get("duplicate queries", 0) == len(rows) - len(collection.queries)
    assert merged.get("duplicate rows", 0) == len(rows) - len(collection.judgements)
    for query, relevant in enumerate(collection.relevant):
        assert set(relevant) == {j.passage for j in collection.judgements if j.query == query}
        assert list(relevant) == sorted(relevant)
