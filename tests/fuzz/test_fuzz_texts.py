"""Texts of every script and of none: what counts as equal stays equal, and nothing is lost in unifying."""

import unicodedata

from budget import budget
from hypothesis import example, given
from hypothesis import strategies as st
from wild import good_texts, texts

from embsweep.config.data import SplitConfig
from embsweep.core.errors import InputError
from embsweep.data.collection import Pair, TextIndex, build_collection
from embsweep.data.issues import DiagnosticList
from embsweep.data.splits import split_collection
from embsweep.data.text import check_text, is_blank, normalise_text

wild = st.one_of(texts, st.text(st.characters(categories=["Mn", "Lu", "Ll", "Lm", "Zs", "Cf"]), max_size=6))


@given(wild)
@example("\u0345\u0301")
@example("\u1e9e\u0300")
@example("\u03d2\u0301")
@budget(1500)
def test_normalising_twice_is_normalising_once(text):
    assert normalise_text(normalise_text(text)) == normalise_text(text)


@given(st.text(st.characters(codec="utf-8"), max_size=8))
@budget(500)
def test_the_forms_of_unicode_are_one_text(text):
    forms = {normalise_text(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert len(forms) == 1


@given(wild)
@budget(500)
def test_a_text_is_taken_stripped_or_named_as_a_diagnostic(text):
    diagnostics = DiagnosticList()
    found = check_text(text, "x.csv:1", "anchor", diagnostics)
    assert (found is None) == bool(len(diagnostics))
    if found is not None:
        assert found == text.strip()
        assert not is_blank(found)
        assert normalise_text(found)


@given(st.lists(st.tuples(good_texts, good_texts), min_size=1, max_size=12))
@budget(200)
def test_rows_are_kept_or_counted_whatever_their_texts(rows):
    found = build_collection("wild", [Pair(*row) for row in rows])
    merged = dict(found.merged)
    assert len(found.judgements) + merged.get("duplicate rows", 0) == len(rows)
    lost = merged.get("duplicate queries", 0) + merged.get("normalised duplicate queries", 0)
    assert len(found.queries) + lost == len(rows)
    numbering = TextIndex()
    assert [numbering.add(question) for question, _ in rows] == [judge_of(found, question) for question, _ in rows]


def judge_of(collection, question):
    return [normalise_text(text) for text in collection.queries].index(normalise_text(question))


@given(
    st.lists(st.tuples(good_texts, good_texts), min_size=1, max_size=12),
    st.tuples(st.integers(0, 2**31 - 1), st.floats(1e-300, 0.5), st.floats(1e-300, 0.49)),
    st.one_of(st.none(), st.integers(1, 20), st.just(10**30)),
)
@budget(200)
def test_a_split_of_anything_holds_every_query_or_says_so(rows, shares, cap):
    found = build_collection("wild", [Pair(*row) for row in rows])
    seed, validation, test = shares
    try:
        splits = split_collection(found, SplitConfig(seed=seed, validation=validation, test=test), cap)
    except InputError as error:
        assert error.diagnostics
        return
    if len(splits.train) + len(splits.validation.queries) + len(splits.test.queries) < len(found.queries):
        assert any(note.startswith("max_pairs kept") for note in splits.notes)
