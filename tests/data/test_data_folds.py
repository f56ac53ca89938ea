"""Folds for the confirmation: every query outside the test split is in one validation side, no passage is in two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import raises_diagnostics

from embsweep.config.data import SplitConfig
from embsweep.data.collection import Pair, build_collection
from embsweep.data.groups import label_groups
from embsweep.data.splits import split_collection, split_folds

SPLIT = SplitConfig(seed=3, validation=0.2, test=0.2)


def collection_of(sizes):
    """Return a collection with one passage for each of `sizes`, which is the passage's number of queries."""
    return build_collection("x", [Pair(f"q{g}.{n}", f"p{g}") for g, size in enumerate(sizes) for n in range(size)])


@pytest.mark.slow
@given(sizes=st.lists(st.integers(1, 6), min_size=14, max_size=40), count=st.integers(2, 5))
def test_folds_partition_the_queries_outside_test(sizes, count):
    collection = collection_of(sizes)
    splits = split_collection(collection, SPLIT, None)
    folds = split_folds(collection, SPLIT, None, count)
    queries = [query for fold in folds for query in fold.validation.queries]
    assert sorted(queries) == sorted([*splits.validation.queries, *(pair.anchor for pair in splits.train)])
    for fold in folds:
        assert fold.test == splits.test
        held_out = {fold.validation.corpus[p] for positions in fold.validation.relevant for p in positions}
        assert held_out.isdisjoint(pair.positive for pair in fold.train)
        assert {pair.anchor for pair in fold.train}.isdisjoint(fold.validation.queries)


def test_folds_have_about_equally_many_queries():
    folds = split_folds(collection_of([5] * 60), SPLIT, None, 4)
    assert {len(fold.validation.queries) for fold in folds} == {60}


def test_more_folds_than_groups_are_refused():
    with raises_diagnostics(("too-few-groups", "confirm.folds")):
        split_folds(collection_of([1] * 4), SPLIT, None, 5)


@pytest.mark.parametrize(
    ("relevant", "same"),
    [([[0], [0], [1]], {(0, 1)}), ([[0, 1], [1, 2], [2]], {(0, 1), (1, 2), (0, 2)}), ([[0], [1]], set())],
)
def test_queries_that_share_a_passage_share_a_group(relevant, same):
    labels = label_groups(relevant)
    pairs = {(a, b) for a in range(len(labels)) for b in range(a + 1, len(labels)) if labels[a] == labels[b]}
    assert pairs == same
