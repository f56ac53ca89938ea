"""Near-duplicates by MinHash, compared with all pairs."""

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsweep.audit import near_duplicates
from embsweep.audit.near_duplicates import PASSAGES, QUERIES, choose_rows, find_near, list_shingles

WORDS = [f"w{chr(97 + number)}" for number in range(26)]


@cache
def shingles(text, shingle_kind):
    return frozenset(list_shingles(text, shingle_kind))


def jaccard(one, two, shingle_kind):
    one, two = shingles(one, shingle_kind), shingles(two, shingle_kind)
    return len(one & two) / len(one | two)


def compare_all(texts, shingle_kind, threshold):
    count = range(len(texts))
    return {(i, j) for i in count for j in count if i != j and jaccard(texts[i], texts[j], shingle_kind) >= threshold}


def change_some(text, draw, chance):
    return " ".join(draw.choice(WORDS) if draw.random() < chance else word for word in text.split())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=2, max_size=30))
def test_pairs_found_are_near_and_their_similarity_is_exact(texts):
    for shingle_kind in (QUERIES, PASSAGES):
        for pair in find_near(texts, [0] * len(texts), shingle_kind, 0.8)[0]:
            assert pair.similarity == pytest.approx(jaccard(texts[pair.text], texts[pair.other], shingle_kind))
            assert pair.similarity >= 0.8
            assert pair.text != pair.other


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_nearly_all_near_pairs_are_found(threshold):
    draw = random.Random(7)
    originals = [" ".join(draw.choices(WORDS, k=40)) for _ in range(60)]
    texts = originals + [change_some(text, draw, 0.05) for text in originals]
    expected = compare_all(texts, PASSAGES, threshold)
    found = {(pair.text, pair.other) for pair in find_near(texts, [0] * len(texts), PASSAGES, threshold)[0]}
    assert len(expected) >= 10
    assert found <= expected
    assert len(found) >= 0.9 * len(expected)


@given(st.floats(0.3, 1.0))
def test_bands_find_a_pair_at_the_threshold_nine_times_in_ten(threshold):
    rows = choose_rows(threshold)
    assert 128 % rows == 0
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.9 or rows == 1


def test_many_texts_of_one_template_exhaust_the_budget_and_the_result_is_marked_incomplete(monkeypatch):
    monkeypatch.setattr(near_duplicates, "_BUDGET", 500)
    texts = [" ".join([*WORDS, f"x{number}"]) for number in range(60)]
    labels = [1 if number >= 50 else 0 for number in range(60)]
    pairs, is_complete = find_near(texts, labels, PASSAGES, 0.8)
    assert not is_complete
    assert min(pair.text for pair in pairs) >= 50  # held-out texts are compared first
    assert find_near(texts[:10], labels[:10], PASSAGES, 0.8)[1]


def test_a_text_with_many_duplicates_on_its_side_is_still_compared_with_the_other_side():
    texts = [" ".join([*WORDS, f"x{number}"]) for number in range(40)]
    labels = np.array([0] * 39 + [1])
    pairs, _ = find_near(texts, labels, PASSAGES, 0.8)
    assert any(labels[pair.text] != labels[pair.other] for pair in pairs)


def test_words_of_other_scripts():
    one, two = "年金の受給資格期間は何年ですか", "年金の受給資格期間は何年でしょうか"
    assert jaccard(one, two, QUERIES) > 0.7
    assert list_shingles("Straße", PASSAGES) == list_shingles("STRASSE ", PASSAGES)
    assert list_shingles("…!", QUERIES) == ["...!"]


@pytest.mark.parametrize("texts", [[], ["one"]])
def test_no_pair_of_fewer_than_two(texts):
    assert find_near(texts, [0] * len(texts), QUERIES, 0.8)[0] == []
