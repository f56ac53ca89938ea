"""Texts of every script: normalisation is idempotent, and merging equal texts loses nothing."""

import unicodedata

from bad_input import good_texts, texts
from budget import budget
from hypothesis import example, given
from hypothesis import strategies as st

from embsweep.config.data import SplitConfig
from embsweep.core.errors import InputError
from embsweep.data.collection import Pair, TextIndex, build_collection
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.splits import split_collection
from embsweep.data.text import is_blank, normalise_text, parse_text

arbitrary = st.one_of(texts, st.text(st.characters(categories=["Mn", "Lu", "Ll", "Lm", "Zs", "Cf"]), max_size=6))


@given(arbitrary)
@example("\u0345\u0301")
@example("\u1e9e\u0300")
@example("\u03d2\u0301")
@budget(1500)
def test_normalising_twice_equals_normalising_once(text):
    assert normalise_text(normalise_text(text)) == normalise_text(text)


@given(st.text(st.characters(codec="utf-8"), max_size=8))
@budget(500)
def test_all_unicode_normal_forms_of_a_text_are_equal(text):
    forms = {normalise_text(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert len(forms) == 1


@given(arbitrary)
@budget(500)
def test_a_text_is_stripped_or_reported(text):
    diagnostics = DiagnosticList()
    stripped = parse_text(text, "x.csv:1", "anchor", diagnostics)
    assert (stripped is None) == bool(len(diagnostics))
    if stripped is not None:
        assert stripped == text.strip()
        assert not is_blank(stripped)
        assert normalise_text(stripped)


@given(st.lists(st.tuples(good_texts, good_texts), min_size=1, max_size=12))
@budget(200)
def test_rows_of_any_text_are_kept_or_counted(rows):
    collection = build_collection("arbitrary", [Pair(*row) for row in rows])
    merged = dict(collection.merged)
    assert len(collection.judgements) + merged.get("duplicate rows", 0) == len(rows)
    lost = merged.get("duplicate queries", 0) + merged.get("normalised duplicate queries", 0)
    assert len(collection.queries) + lost == len(rows)
    index = TextIndex()
    assert [index.add(query) for query, _ in rows] == [position_of(collection, query) for query, _ in rows]


def position_of(collection, query):
    return [normalise_text(text) for text in collection.queries].index(normalise_text(query))


@given(
    st.lists(st.tuples(good_texts, good_texts), min_size=1, max_size=12),
    st.tuples(st.integers(0, 2**31 - 1), st.floats(1e-300, 0.5), st.floats(1e-300, 0.49)),
    st.one_of(st.none(), st.integers(1, 20), st.just(10**30)),
)
@budget(200)
def test_a_split_of_any_rows_has_every_query_or_notes_the_cap(rows, shares, cap):
    collection = build_collection("arbitrary", [Pair(*row) for row in rows])
    seed, validation, test = shares
    try:
        splits = split_collection(collection, SplitConfig(seed=seed, validation=validation, test=test), cap)
    except InputError as error:
        assert error.diagnostics
        return
    if len(splits.train) + len(splits.validation.queries) + len(splits.test.queries) < len(collection.queries):
        assert any(note.startswith("max_pairs kept") for note in splits.notes)
