"""Training rows have the same number of hard negatives; sides that the source fixes stay; groups stay whole."""

from __future__ import annotations

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config.data import SplitConfig
from embsweep.data.collection import Pair, build_collection
from embsweep.data.splits import split_collection, split_folds
from embsweep.data.training_rows import FILLED

SPLIT = SplitConfig(seed=3, validation=0.1, test=0.1)


def split(pairs, extra=(), cap=None):
    return split_collection(build_collection("x", pairs, extra), SPLIT, cap)


def with_negatives(count):
    """Return 40 pairs, of which every fourth lacks its negatives."""
    return [Pair(f"q{n}", f"p{n}", tuple(f"n{n}.{k}" for k in range(count if n % 4 else 0))) for n in range(40)]


@pytest.mark.parametrize("count", [1, 3])
def test_missing_negatives_are_passages_of_other_training_rows(count):
    splits = split(with_negatives(count), ["knowledge base"])
    texts = {text for pair in with_negatives(count) for text in (pair.positive, *pair.negatives)}
    lacking = [pair for pair in splits.train if int(pair.anchor[1:]) % 4 == 0]
    assert lacking
    for pair in splits.train:
        assert len(pair.negatives) == len(set(pair.negatives)) == count
        assert pair.positive not in pair.negatives
        assert texts.issuperset(pair.negatives)
    answers = {text for text in splits.test.corpus if text.startswith("p")} - {pair.positive for pair in splits.train}
    assert answers.isdisjoint(text for pair in splits.train for text in pair.negatives)
    assert f"{FILLED}: {count * len(lacking)}" in splits.notes


def test_passages_that_fill_in_are_used_equally_often():
    pairs = [Pair(f"q{n}", f"p{n}", ("n",) if n == 0 else ()) for n in range(80)]
    train = split(pairs).train
    used = [text for pair in train for text in pair.negatives]
    assert max(map(used.count, used)) <= 3


def test_what_fills_in_does_not_depend_on_the_order_of_rows():
    pairs = with_negatives(2)
    first, second = split(pairs), split(pairs[::-1])
    assert first.fingerprint == second.fingerprint
    assert set(first.train) == set(second.train)


def test_rows_without_any_negative_are_unchanged():
    assert all(pair.negatives == () for pair in split(with_negatives(0)).train)


def test_the_fingerprint_covers_every_negative():
    pairs = [Pair(f"q{n}", f"p{n}", (f"n{n}", f"m{n}")) for n in range(30)]
    other = [Pair(pair.anchor, pair.positive, (pair.negatives[0], "other")) for pair in pairs]
    assert split(pairs).fingerprint != split(other).fingerprint


def fixed(validation=5, test=5):
    sides = ["validation"] * validation + ["test"] * test + [None] * 30
    return [Pair(f"q{n}", f"p{n // 2}", side=side) for n, side in enumerate(sides)]


def test_fixed_sides_stay_and_are_not_trained_on():
    splits = split(fixed())
    assert splits.validation.queries == tuple(f"q{n}" for n in range(5))
    assert splits.test.queries == tuple(f"q{n}" for n in range(5, 10))
    assert len(splits.train) == 30
    assert splits.fixed == ("validation", "test")


def test_a_side_that_is_not_fixed_is_cut_off_the_rest():
    splits = split(fixed(test=0))
    assert len(splits.validation.queries) == 5
    assert len(splits.test.queries) == 3 or len(splits.test.queries) == 2
    assert len(splits.train) + len(splits.test.queries) == 30


def test_a_cap_takes_its_share_of_every_side():
    splits = split([Pair(f"q{n}", f"p{n}", side="test" if n < 20 else None) for n in range(80)], cap=40)
    assert len(splits.test.queries) == 10
    assert len(splits.train) + len(splits.validation.queries) == 30


def test_cross_validation_does_not_train_on_fixed_validation_queries():
    with raises_diagnostics(("conflict", "confirm.folds")):
        split_folds(build_collection("x", fixed()), SPLIT, None, 3)


def test_a_document_stays_on_one_side():
    pairs = [Pair(f"q{n}", f"p{n}", group=f"doc{n // 6}") for n in range(60)]
    splits = split(pairs)
    document = {pair.anchor: pair.group for pair in pairs}
    sides = [{document[pair.anchor] for pair in splits.train}]
    sides += [{document[query] for query in side.queries} for side in (splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 10
