"""The split: groups stay together, the order of rows has no effect, and every judgement is accounted for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from split_checks import assert_disjoint, config, passages_by_side, relevant_texts
from tests.refusals import raises_diagnostics
from tests.texts import numbers_in

from embsweep.core.errors import InputError
from embsweep.data.collection import Collection, Judgement, Pair, build_collection
from embsweep.data.groups import find_groups
from embsweep.data.splits import as_retrieval_set, split_collection


def single_pairs(count, questions=1):
    return [Pair(f"q{p}.{q}", f"p{p}") for p in range(count) for q in range(questions)]


def test_groups_are_connected_components():
    pairs = [Pair("a", "1"), Pair("a", "2"), Pair("b", "2"), Pair("c", "3"), Pair("d", "1"), Pair("e", "4")]
    collection = build_collection("x", pairs, ["unjudged"])
    groups = find_groups(collection, seed=0)
    assert sorted((group.queries, group.rows) for group in groups) == [((0, 1, 3), 4), ((2,), 1), ((4,), 1)]


def test_a_hard_negative_connects_no_groups():
    collection = build_collection("x", [Pair("a", "1", ("2",)), Pair("b", "2", ("1",))])
    assert len(find_groups(collection, seed=0)) == 2


def test_a_query_with_the_text_of_a_passage_connects_no_groups():
    collection = build_collection("x", [Pair("a", "b"), Pair("b", "c"), Pair("c", "a")])
    assert len(find_groups(collection, seed=0)) == 3


def test_shares_and_corpus_of_a_plain_set():
    collection = build_collection("x", single_pairs(100), ["unjudged"])
    splits = split_collection(collection, config(validation=0.1, test=0.25), None)
    assert (len(splits.train), len(splits.validation.queries), len(splits.test.queries)) == (65, 10, 25)
    assert splits.validation.corpus == splits.test.corpus == tuple(sorted(collection.passages))
    assert (splits.name, splits.validation.name, splits.test.name) == ("x", "x/validation", "x/test")
    assert splits.notes == ()


def test_another_seed_draws_another_split():
    collection = build_collection("x", single_pairs(100))
    tests = {split_collection(collection, config(seed=seed), None).test.queries for seed in range(5)}
    assert len(tests) == 5


def test_merged_texts_are_noted():
    collection = build_collection("x", [*single_pairs(9), Pair("q0.0", "p0")])
    merged = [f"{kind}: {count}" for kind, count in collection.merged if count]
    assert [numbers_in(note) for note in merged] == [[1]] * len(merged) != []
    assert split_collection(collection, config(), None).notes == tuple(merged)


@pytest.mark.parametrize("fractions", [(0.1, 0.1), (0.5, 0.49), (0.9, 0.05), (0.01, 0.01), (0.05, 0.9)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 5, 5), (100, 1, 1), (7, 90, 3), (1, 1, 1, 50)])
def test_no_side_is_ever_empty(sizes, fractions):
    pairs = [Pair(f"q{p}.{q}", f"p{p}") for p, size in enumerate(sizes) for q in range(size)]
    splits = split_collection(build_collection("x", pairs), config(0, *fractions), None)
    counts = [len(splits.train), len(splits.validation.queries), len(splits.test.queries)]
    assert min(counts) >= 1
    assert sum(counts) == len(pairs)
    assert_disjoint(splits)


def test_a_share_far_from_the_requested_one_is_noted():
    pairs = [Pair(f"q{p}.{q}", f"p{p}") for p in range(3) for q in range(10)]
    notes = split_collection(build_collection("x", pairs), config(0, 0.1, 0.1), None).notes
    assert [(note.split()[0], numbers_in(note)) for note in notes[1:]] == [
        ("validation", [10, 30, 33, 10]),
        ("test", [10, 30, 33, 10]),
    ]


@pytest.mark.parametrize(
    ("pairs", "max_pairs", "where", "code"),
    [
        (single_pairs(2), None, "data.split", "too-few-groups"),
        (single_pairs(1, 50), None, "data.split", "too-few-groups"),
        (single_pairs(9), 2, "data.max_pairs", "too-few-groups"),
        (single_pairs(9, 4), 3, "data.max_pairs", "too-few-groups"),
        ([Pair(f"q{n}", f"p{n % 50}") for n in range(98)] + [Pair(f"q{n}", f"p{n + 1}") for n in range(49)], None,
         "data.split", "too-few-groups"),
    ],
)  # fmt: skip
def test_too_little_to_split(pairs, max_pairs, where, code):
    with pytest.raises(InputError) as caught:
        split_collection(build_collection("x", pairs), config(), max_pairs)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.location) == (code, where)


class TestMaxPairs:
    collection = build_collection("x", [Pair(f"q{p}.{q}", f"p{p}") for p in range(60) for q in range(1 + p % 3)], ["u"])

    def test_takes_complete_groups_up_to_the_cap(self):
        splits = split_collection(self.collection, config(), 50)
        kept = len(splits.train) + len(splits.validation.queries) + len(splits.test.queries)
        assert kept == 50  # groups of one fill the last gap
        everything = relevant_texts(as_retrieval_set(self.collection)[0])
        chosen = {pair.positive for pair in splits.train} | set(splits.test.corpus)
        assert sum(next(iter(passages)) in chosen for passages in everything.values()) == kept
        assert set(splits.test.corpus) == set().union(*passages_by_side(splits).values())

    def test_the_cap_is_noted(self):
        notes = split_collection(self.collection, config(), 50).notes
        cap = next(note for note in notes if note.startswith("max_pairs"))
        kept, pairs, *_, passages = numbers_in(cap)
        assert (kept, pairs, passages) == (50, 120, 61)

    @pytest.mark.parametrize("cap", [120, 121, 10**9])
    def test_a_cap_that_is_not_reached_changes_nothing(self, cap):
        free = split_collection(self.collection, config(), None)
        assert split_collection(self.collection, config(), cap) == free
        assert "u" in free.test.corpus

    def test_hard_negatives_of_the_kept_pairs_stay_in_the_corpus(self):
        collection = build_collection("x", [Pair(f"q{n}", f"p{n}", (f"n{n}",)) for n in range(20)])
        splits = split_collection(collection, config(), 10)
        assert len(splits.test.corpus) == 20
        assert {text[1:] for text in splits.test.corpus if text[0] == "n"} == {
            text[1:] for text in splits.test.corpus if text[0] == "p"
        }

    def test_the_order_of_the_rows_does_not_affect_the_sets(self):
        reordered = build_collection("x", [*reversed(single_pairs(100))])
        first, second = (
            split_collection(c, config(), 50) for c in (build_collection("x", single_pairs(100)), reordered)
        )
        assert (first.test, first.validation, first.fingerprint) == (second.test, second.validation, second.fingerprint)
        assert list(first.test.corpus) == sorted(first.test.corpus)


def test_a_training_row_whose_negative_answers_a_held_out_query_is_omitted():
    pairs = [Pair(f"q{n}", f"p{n}", (f"p{(n + 1) % 30}",)) for n in range(30)]
    splits = split_collection(build_collection("x", pairs), config(), None)
    held_out = passages_by_side(splits)["validation"] | passages_by_side(splits)["test"]
    assert len(held_out) == 12
    due = [pair for pair in pairs if pair.positive not in held_out]
    expected = [pair for pair in due if pair.negatives[0] not in held_out]
    assert len(expected) < len(due)
    assert list(splits.train) == expected
    note = f"training rows left out because their hard negative answers a held-out query: {len(due) - len(expected)}"
    assert note in splits.notes


def test_no_training_row_left_is_an_error():
    pairs = [Pair("a", "1", ("2",)), Pair("b", "2", ("1",)), Pair("c", "3", ("1",)), Pair("a", "1", ("3",))]
    pairs += [Pair("b", "2", ("3",)), Pair("c", "3", ("2",))]
    with raises_diagnostics(("too-few-pairs", "data.split")):
        split_collection(build_collection("x", pairs), config(), None)


def test_retrieval_set_has_the_judged_queries_and_every_passage():
    collection = Collection(
        "x", ("a", "unjudged", "b"), ("1", "2", "3"), (Judgement(2, 1), Judgement(0, 0), Judgement(2, 0))
    )
    answers = as_retrieval_set(collection)[0]
    assert (answers.name, answers.queries, answers.corpus) == ("x", ("a", "b"), ("1", "2", "3"))
    assert answers.relevant == ((0,), (0, 1))


class TestFingerprint:
    pairs = tuple(single_pairs(20, 2))

    def of(self, pairs=pairs, extra=("u",), **changes):
        return split_collection(build_collection("x", pairs, extra), config(**changes), None).fingerprint

    @pytest.mark.slow
    def test_is_the_same_in_every_process(self):
        code = (
            "from embsweep.config.data import SplitConfig\n"
            "from embsweep.data.collection import Pair\n"
            "from embsweep.data.collection import build_collection\n"
            "from embsweep.data.splits import split_collection\n"
            "pairs = [Pair(f'q{p}.{q}', f'p{p}') for p in range(20) for q in range(2)]\n"
            "config = SplitConfig(seed=13, validation=0.2, test=0.2)\n"
            "splits = split_collection(build_collection('x', pairs, ['u']), config, None)\n"
            "import sys; sys.stdout.write(splits.fingerprint)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout == self.of()
        assert len(run.stdout) == 64

    def test_changes_with_every_text_and_side(self):
        first, *rest = self.pairs
        fingerprints = {
            self.of(),
            self.of(seed=14),
            self.of(test=0.3),
            self.of(extra=("v",)),
            self.of(extra=()),
            self.of(rest),
            self.of([replace(first, anchor="other"), *rest]),
            self.of([replace(first, positive="other"), *rest]),
            self.of([replace(pair, negatives=("u",)) for pair in self.pairs]),
        }
        assert len(fingerprints) == 9


def test_a_capped_retrieval_set_has_complete_groups_and_their_passages():
    pairs = [Pair(f"question {i} {j}", f"passage {i}") for i in range(20) for j in range(2)]
    collection = build_collection("toy", pairs, ["a passage without a query"])
    capped = as_retrieval_set(collection, seed=1, max_pairs=10)[0]
    assert (len(capped.queries), len(capped.corpus)) == (10, 5)
    assert all(
        capped.corpus[r[0]].split()[1] == q.split()[1] for q, r in zip(capped.queries, capped.relevant, strict=True)
    )
    whole = as_retrieval_set(collection, seed=1, max_pairs=40)[0]
    assert (len(whole.queries), len(whole.corpus)) == (40, 21)
    with raises_diagnostics(("too-few-groups", "data.max_pairs")):
        as_retrieval_set(collection, seed=1, max_pairs=1)[0]
