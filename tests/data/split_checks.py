"""Helpers for the tests of the split: its configuration, and a check that no text is on two sides."""

from embsweep.config.data import SplitConfig


def config(seed=13, validation=0.2, test=0.2):
    return SplitConfig(seed=seed, validation=validation, test=test)


def relevant_texts(answers):
    return {
        query: {answers.corpus[position] for position in positions}
        for query, positions in zip(answers.queries, answers.relevant, strict=True)
    }


def passages_by_side(splits):
    return {
        "train": {pair.positive for pair in splits.train},
        "validation": set().union(*relevant_texts(splits.validation).values()),
        "test": set().union(*relevant_texts(splits.test).values()),
    }


def assert_disjoint(splits):
    sides = passages_by_side(splits)
    assert not sides["train"] & sides["validation"]
    assert not sides["train"] & sides["test"]
    assert not sides["validation"] & sides["test"]
    queries = [{pair.anchor for pair in splits.train}, set(splits.validation.queries), set(splits.test.queries)]
    assert sum(map(len, queries)) == len(set().union(*queries))
