"""Building a collection from pairs: equal texts are merged, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import raises_diagnostics

from embsweep.core.errors import InputError
from embsweep.data.collection import Judgement, Pair, build_collection
from embsweep.data.text import normalise_text

TEXTS = st.sampled_from(["a", "b", "c ", " c", "d\u00a0", "d", "ß", "ss", "é", "e\u0301", "A"])


def test_numbers_follow_first_appearance_and_counts_are_kept():
    pairs = [Pair("a?", "p"), Pair("b?", " p"), Pair("a? ", "q"), Pair("a?", "p\n"), Pair("c?", "r")]
    collection = build_collection("x", pairs, ["r", "s", "s "])
    assert collection.queries == ("a?", "b?", "c?")
    assert collection.passages == ("p", "q", "r", "s")
    assert collection.judgements == (Judgement(0, 0), Judgement(1, 0), Judgement(0, 1), Judgement(2, 2))
    assert collection.relevant == ((0, 1), (0,), (2,))
    assert dict(collection.merged) == {"duplicate queries": 2, "duplicate passages": 3, "duplicate rows": 1}


def test_nothing_is_reported_if_nothing_is_merged():
    assert build_collection("x", [Pair("a", "p", ("n",)), Pair("b", "q", ("n",))]).merged == ()


def test_negatives_are_passages_and_a_pair_may_have_several():
    collection = build_collection("x", [Pair("a", "p", ("n", "m")), Pair("a", "p", ("q",)), Pair("b", "q", ("p",))])
    assert collection.passages == ("p", "n", "m", "q")
    assert collection.judgements == (Judgement(0, 0, (1, 2)), Judgement(0, 0, (3,)), Judgement(1, 3, (0,)))


@pytest.mark.parametrize(
    ("pairs", "where", "code"),
    [
        ([Pair("a", "p", ("p ",), place="x:1")], "x:1", "negative-is-relevant"),
        ([Pair("a", "p", ("q",), place="x:1"), Pair("a", "q", ("n",), place="x:2")], "x:1", "negative-is-relevant"),
        ([Pair("a", "p", ("p",))], "data", "negative-is-relevant"),
        ([], "data", "no-rows"),
    ],
)
def test_contradictions(pairs, where, code):
    with pytest.raises(InputError) as caught:
        build_collection("x", pairs)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.location) == (code, where)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Wie hoch ist die Steuer?", "wie hoch  ist\u00a0die\nSTEUER?"),
        ("Straße", "STRASSE"),
        ("ﬁnal", "final"),
        ("e\u0301tat", "état"),
        ("ＡＢＣ１", "abc1"),
    ],
)
def test_texts_that_differ_in_case_unicode_form_or_white_space_are_merged(text, same):
    collection = build_collection("x", [Pair(text, "p"), Pair(same, "q"), Pair("other", text), Pair("another", same)])
    assert collection.queries == (min(text, same), "other", "another")
    assert collection.passages == ("p", "q", min(text, same))
    assert collection.relevant == ((0, 1), (2,), (2,))
    assert dict(collection.merged) == {"normalised duplicate queries": 1, "normalised duplicate passages": 1}


def test_exact_and_normalised_duplicates_are_counted_separately():
    pairs = [Pair("a?", "p"), Pair("A?", "P"), Pair("a?", "p "), Pair("b?", "p"), Pair("A?", "q")]
    assert dict(build_collection("x", pairs, ["r", "R", "r "]).merged) == {
        "duplicate queries": 2,
        "normalised duplicate queries": 1,
        "duplicate passages": 3,
        "normalised duplicate passages": 2,
        "duplicate rows": 2,
    }


def test_a_negative_that_differs_in_case_is_still_the_relevant_passage():
    with raises_diagnostics(("negative-is-relevant", "data")):
        build_collection("x", [Pair("a", "Passage", ("PASSAGE",)), Pair("b", "q", ("n",))])


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise_text(normalise_text(text)) == normalise_text(text)
    assert normalise_text(f" {text}\n") == normalise_text(text)


ROWS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1)


@pytest.mark.slow
@given(ROWS, st.lists(TEXTS))
def test_every_pair_is_kept_once_and_texts_are_distinct(rows, extra):
    collection = build_collection("x", [Pair(*row) for row in rows], extra)
    pairs = [(normalise_text(anchor), normalise_text(positive)) for anchor, positive in rows]
    for texts in (collection.queries, collection.passages):
        assert len(set(map(normalise_text, texts))) == len(texts)
    judged = [(collection.queries[j.query], collection.passages[j.passage]) for j in collection.judgements]
    assert [tuple(map(normalise_text, pair)) for pair in judged] == list(dict.fromkeys(pairs))
    given = [text.strip() for row in rows for text in row] + [text.strip() for text in extra]
    assert {*collection.queries, *collection.passages} <= set(given)
    assert set(map(normalise_text, collection.passages)) == {p for _, p in pairs} | set(map(normalise_text, extra))
    merged = dict(collection.merged)
    lost = merged.get("duplicate queries", 0) + merged.get("normalised duplicate queries", 0)
    assert lost == len(rows) - len(collection.queries)
    assert merged.get("duplicate queries", 0) == len(rows) - len({anchor.strip() for anchor, _ in rows})
    assert merged.get("duplicate rows", 0) == len(rows) - len(collection.judgements)
    for query, relevant in enumerate(collection.relevant):
        assert set(relevant) == {j.passage for j in collection.judgements if j.query == query}
        assert list(relevant) == sorted(relevant)


@pytest.mark.slow
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_affects_only_the_numbering(rows, shuffler):
    again = rows.copy()
    shuffler.shuffle(again)
    one, other = (build_collection("x", [Pair(*row) for row in order]) for order in (rows, again))
    assert set(one.queries) == set(other.queries)
    assert set(one.passages) == set(other.passages)
    assert dict(one.merged) == dict(other.merged)
