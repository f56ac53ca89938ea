"""Sides of a split (training, validation, test), with their contents determined from the texts, not assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from embsweep.data.collection import Pair, RetrievalSet, Splits

Item = TypeVar("Item")

TRAIN, VALIDATION, TEST = "training", "validation", "test"


@dataclass(frozen=True)
class Side:
    """One side of a split: distinct query texts → texts of their relevant passages, in order."""

    name: str
    answers: dict[str, tuple[str, ...]]

    @property
    def queries(self) -> tuple[str, ...]:
        """Distinct queries."""
        return tuple(self.answers)

    @cached_property
    def passages(self) -> tuple[str, ...]:
        """Distinct relevant passages."""
        return tuple(dict.fromkeys(text for texts in self.answers.values() for text in texts))


@dataclass(frozen=True)
class SplitView:
    """All data that training and evaluation use. `rows` are (query, passage) of every side, training first.

    `is_fixed` is True if the source fixes a side, instead of leaving the whole split to `data.split`.
    """

    sides: tuple[Side, ...]
    train: tuple[Pair, ...]
    corpus: tuple[str, ...]
    is_fixed: bool = False

    @cached_property
    def queries(self) -> tuple[str, ...]:
        """Distinct queries of all sides."""
        return tuple(dict.fromkeys(query for side in self.sides for query in side.queries))

    @cached_property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """One row for each query and each passage relevant to it."""
        return tuple((q, p) for side in self.sides for q, texts in side.answers.items() for p in texts)


def build_split_view(splits: Splits) -> SplitView:
    """Build the sides of a split; the corpus is that of the held-out sets plus the passages only used in training."""
    train: dict[str, list[str]] = {}
    for pair in splits.train:
        train.setdefault(pair.anchor, []).append(pair.positive)
    sides = (
        Side(TRAIN, {query: tuple(dict.fromkeys(texts)) for query, texts in train.items()}),
        _read_set(VALIDATION, splits.validation),
        _read_set(TEST, splits.test),
    )
    trained = (text for pair in splits.train for text in (pair.positive, *pair.negatives))
    corpus = tuple(dict.fromkeys([*splits.validation.corpus, *splits.test.corpus, *trained]))
    return SplitView(sides, splits.train, corpus, bool(splits.fixed))


def _read_set(name: str, data: RetrievalSet) -> Side:
    answers: dict[str, tuple[str, ...]] = {}
    for query, relevant in zip(data.queries, data.relevant, strict=True):
        answers[query] = (*answers.get(query, ()), *(data.corpus[position] for position in relevant))
    return Side(name, answers)


def draw_sample(items: Sequence[Item], limit: int) -> tuple[Item, ...]:
    """Draw at most `limit` items at equal steps, so that repeated calls give the same sample."""
    count = min(len(items), limit)
    return tuple(items[number * len(items) // count] for number in range(count))
