"""In-batch false negatives: passages that a batch treats as negatives although they answer the query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from embsweep.audit.findings import Finding
from embsweep.config.training import TrainConfig
from embsweep.data.collection import Pair

FALSE_IS_WARNING = 0.05
"""False negatives per query of a batch from which they are a warning: one query in twenty has a wrong negative."""


@dataclass(frozen=True)
class InBatch:
    """Expected number of (query, passage) pairs of one batch that are false negatives.

    `at_random` is for rows drawn at random, `without_duplicates` for a sampler without duplicates. Near-duplicates of a
    relevant passage are not counted.
    """

    batch_size: int
    sampler: str
    at_random: float
    without_duplicates: float

    @property
    def chosen(self) -> float:
        """Expected number for the configured sampler."""
        return self.at_random if self.sampler == "batch_sampler" else self.without_duplicates


def count_false_negatives(train: Sequence[Pair], config: TrainConfig) -> InBatch:
    """Compute the expectation for a full batch of `config.batch_size`, or of all rows if there are fewer.

    For rows drawn at random without replacement it is B (B - 1) times the share of ordered pairs of rows whose second
    passage (or hard negative) answers the first one's query; this is exact. A sampler without duplicates never puts two
    rows that share a text into one batch: the share is then that among the admissible pairs; this is approximate,
    because the sampler fills a batch one row at a time.
    """
    rows = len(train)
    size = min(config.batch_size, rows)
    passages = Counter(pair.positive for pair in train)
    negatives = Counter(text for pair in train for text in pair.negatives)
    pairs = Counter((pair.anchor, pair.positive) for pair in train)
    answers: dict[str, set[str]] = {}
    for pair in train:
        answers.setdefault(pair.anchor, set()).add(pair.positive)
    wrong = sum(sum(passages[p] + negatives[p] for p in answers[pair.anchor]) - 1 for pair in train)
    distinct = sum(
        passages[p] - pairs[pair.anchor, p] + negatives[p]
        for pair in train
        for p in answers[pair.anchor]
        if p != pair.positive
    )
    sharing = _count_ordered(Counter(pair.anchor for pair in train)) + _count_ordered(passages) - _count_ordered(pairs)
    admitted = rows * (rows - 1) - sharing
    fitting = min(size, len(passages))
    return InBatch(
        config.batch_size,
        config.batch_sampler,
        size * (size - 1) * wrong / max(1, rows * (rows - 1)),
        fitting * (fitting - 1) * distinct / max(1, admitted),
    )


def report_false_negatives(found: InBatch) -> Iterator[Finding]:
    """Yield a note if random batches have false negatives, a warning if the configured sampler admits many."""
    if found.at_random < 0.005 and found.chosen < 0.005:
        return
    is_many = found.chosen >= FALSE_IS_WARNING * found.batch_size
    others = f"{found.at_random:.2f} at random" if found.sampler != "batch_sampler" else "rows at random"
    fewer = f"; {found.without_duplicates:.2f} with no_duplicates" if found.sampler == "batch_sampler" else ""
    message = (
        f"a batch of {found.batch_size} holds {found.chosen:.2f} false negatives on average "
        f"(train.batch_sampler={found.sampler}; {others}{fewer})"
    )
    yield Finding("in-batch-false-negatives", "warning" if is_many else "note", message)


def _count_ordered(counts: Counter[str] | Counter[tuple[str, str]]) -> int:
    return sum(count * (count - 1) for count in counts.values())
