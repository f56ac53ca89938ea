"""What the test set of a card can show, from its figures alone."""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.recipe.card import Card

_CONFIDENCE = 0.95
_TOP = 10


@dataclass(frozen=True)
class QueryReading:
    """`step` is the least by which an accuracy can differ, the weight of one query.

    `first` and `in_top` are the queries whose passage came first, and among the first ten; `low` and `high` bound
    the accuracy@10 in 95 of 100 samples of so many queries. `is_scattered`: a passage that is among the first ten
    is itself the first less often than chance would have it, one time in ten.
    """

    queries: int
    step: float
    first: int
    in_top: int
    low: float
    high: float

    @property
    def is_scattered(self) -> bool:
        """The mark of several rows for one passage of which one counts as right."""
        return self.first * _TOP < self.in_top


def read_queries(card: Card) -> QueryReading:
    """Counts behind the reported accuracies at the card's largest dimension, with Wilson's interval (1927)."""
    from scipy.stats import binomtest

    first, in_top = (round(card.accuracy[k] * card.test_queries) for k in (1, _TOP))
    interval = binomtest(in_top, card.test_queries).proportion_ci(_CONFIDENCE, method="wilson")
    return QueryReading(
        queries=card.test_queries,
        step=1 / card.test_queries,
        first=first,
        in_top=in_top,
        low=float(interval.low),
        high=float(interval.high),
    )
