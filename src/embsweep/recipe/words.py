"""What is to be known of a card before its recipe is trusted, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from embsweep.recipe.card import Card
from embsweep.recipe.difference import Fact
from embsweep.recipe.log import LogReading
from embsweep.recipe.queries import QueryReading
from embsweep.recipe.steps import Steps


def describe_log(card: Card, reading: LogReading) -> Iterator[str]:
    """Which weights were saved, whose figures were reported, what would have been chosen."""
    are = "are" if reading.saved == reading.reported else "are not"
    yield (
        f"The card saves epoch {reading.saved} and reports epoch {reading.reported}: "
        f"its figures {are} those of the weights that it ships."
    )
    wanted = ", ".join(f"{epoch} for {dim}" for dim, epoch in reading.wanted.items())
    yield (
        f"The saved epoch is the best at dimension {card.chosen_by}; each dimension alone would have wanted {wanted}, "
        f"the mean over all of them {reading.by_profile}."
    )


def describe_schedule(card: Card, reading: LogReading, steps: Steps) -> Iterator[str]:
    """How much of the schedule was of use, and what accumulation did not buy."""
    yield (
        f"{reading.planned} epochs were planned and {reading.ran} evaluated, {steps.ran:,} of {steps.card:,} optimizer "
        f"steps; the epoch that was kept is number {reading.saved}."
    )
    if steps.here != steps.card:
        yield (
            f"The same schedule has {steps.here:,} steps here: an accumulation that an epoch's end cuts short is a "
            "step of its own; in the card's version of transformers it went on into the next epoch."
        )
    if steps.peak_share < 1:
        yield (
            f"Warm-up is {card.train.warmup:.0%} of the plan, {card.train.warmup * card.train.epochs:g} epochs: the "
            f"weights that were kept come from inside it, at {steps.peak_share:.0%} of the peak learning rate."
        )
    if card.train.patience is not None:
        yield f"A patience of {card.train.patience} is read off its log, which ends early; the card names none."
    batch, together = card.train.batch_size, card.train.batch_size * card.train.accumulation
    yield (
        f"{card.train.accumulation} batches of {batch} are accumulated: a step of {together} pairs, "
        f"but {batch - 1} in-batch negatives for each anchor, not {together - 1}."
    )


def describe_queries(queries: QueryReading) -> Iterator[str]:
    """What so many test queries can show."""
    yield (
        f"{queries.queries:,} test queries: one of them moves an accuracy by {queries.step:.4f}, and accuracy@10 "
        f"lies between {queries.low:.2f} and {queries.high:.2f} in 95 of 100 samples of so many. "
        "The same queries chose the checkpoint and report its score."
    )
    if queries.is_scattered:
        yield (
            f"Of {queries.in_top} queries whose passage is among the first ten, {queries.first} have it first, fewer "
            "than chance: the mark of passages that stand in the corpus several times, of which one counts."
        )


def describe_difference(facts: tuple[Fact, ...]) -> Iterator[str]:
    """How far a recipe is the card's."""
    differing = [fact.key for fact in facts if not fact.is_equal]
    equal = f"{len(facts) - len(differing)} of {len(facts)} facts as on the card"
    yield f"{equal}; different: {', '.join(differing)}." if differing else f"{equal}."
    if "objective" in differing:
        yield "Checkpoint, stopping and winner follow one objective here; objective=dim_128 is the card's."
