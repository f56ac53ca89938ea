"""Properties of every split: disjoint sides, no effect of the order, shares near the requested ones, nothing lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_checks import assert_disjoint, config, relevant_texts

from embsweep.core.errors import InputError
from embsweep.data.collection import Pair, build_collection
from embsweep.data.splits import as_retrieval_set, split_collection


@st.composite
def collections(draw):
    """Draw rows over few texts, so that groups of several queries and passages are common."""
    size = draw(st.integers(3, 40))
    rows = draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), min_size=1, max_size=60))
    with_negatives = draw(st.booleans())
    positives = {q: {p for other, p in rows if other == q} for q, _ in rows}
    pairs = []
    for query, passage in rows:
        free = sorted(set(range(size + 2)) - positives[query])
        negatives = (f"p{draw(st.sampled_from(free))}",) if with_negatives else ()
        pairs.append(Pair(f"q{query}", f"p{passage}", negatives))
    return pairs, draw(st.lists(st.sampled_from(["u1", "u2", "p0"]), max_size=3))


def split_or_none(pairs, extra, split, cap):
    try:
        return split_collection(build_collection("x", pairs, extra), split, cap)
    except InputError:
        return None


SPLITS = st.builds(config, st.integers(0, 99), st.sampled_from([0.1, 0.2, 0.4]), st.sampled_from([0.1, 0.2, 0.4]))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(collections(), SPLITS, st.one_of(st.none(), st.integers(3, 60)), st.randoms(use_true_random=False))
def test_split_properties(drawn, split, cap, shuffler: random.Random):
    pairs, extra = drawn
    splits = split_or_none(pairs, extra, split, cap)
    shuffled = pairs.copy()
    shuffler.shuffle(shuffled)
    again = split_or_none(shuffled, extra[::-1], split, cap)
    assert (splits is None) == (again is None)
    if splits is None or again is None:
        return
    assert_disjoint(splits)

    assert splits.fingerprint == again.fingerprint
    key = lambda pair: (pair.anchor, pair.positive, pair.negatives)  # noqa: E731
    assert sorted(splits.train, key=key) == sorted(again.train, key=key)
    assert relevant_texts(splits.validation) == relevant_texts(again.validation)
    assert relevant_texts(splits.test) == relevant_texts(again.test)
    assert set(splits.test.corpus) == set(again.test.corpus)

    collection = build_collection("x", pairs, extra)
    truth = relevant_texts(as_retrieval_set(collection)[0])
    held_out = relevant_texts(splits.validation) | relevant_texts(splits.test)
    assert all(passages == truth[query] for query, passages in held_out.items())
    answers = set().union(*held_out.values())
    if cap is None:
        named = {text for pair in pairs for text in (pair.positive, *pair.negatives)}
        assert set(splits.test.corpus) == named | set(extra)
        rows = {(j.query, j.passage, j.negatives) for j in collection.judgements}
        expected = [
            (q, p, n)
            for q, p, n in rows
            if collection.queries[q] not in held_out and not {collection.passages[p] for p in n} & answers
        ]
        assert len(splits.train) == len(expected)
    else:
        kept = {pair.anchor for pair in splits.train} | set(held_out)
        assert sum(collection.queries[j.query] in kept for j in collection.judgements) <= cap


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=30, max_size=120), SPLITS)
def test_shares_are_near_the_requested_ones(sizes, split):
    pairs = [Pair(f"q{p}.{q}", f"p{p}") for p, size in enumerate(sizes) for q in range(size)]
    splits = split_collection(build_collection("x", pairs), split, None)
    for answers, fraction in ((splits.validation, split.validation), (splits.test, split.test)):
        share = round(fraction * len(pairs))
        assert share - max(sizes) < len(answers.queries) <= share
