"""How many optimizer steps a card's schedule has: the card's library counted otherwise than ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embsweep.recipe.card import Card


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of the whole schedule on the card's own pairs: `card` then, `here` now; `ran` were taken.

    `peak_share` is how far the warm-up had raised the learning rate at the saved checkpoint, 1 where it was over.
    """

    card: int
    here: int
    ran: int
    peak_share: float


def count_steps(card: Card) -> Steps:
    """An epoch's batches in whole accumulations, at least one; what is left over counts here and did not there.

    transformers 4.42, `Trainer._inner_training_loop`: `len(dataloader) // gradient_accumulation_steps`;
    5.23, `Trainer.set_initial_training_values`: one more where there is a remainder.
    """
    batches = math.ceil(card.train_pairs / card.train.batch_size)
    whole = max(1, batches // card.train.accumulation)
    begun = math.ceil(batches / card.train.accumulation)
    planned = round(card.train.epochs * whole)
    saved = next(row.step for row in card.log if row.saved)
    return Steps(
        card=planned,
        here=math.ceil(card.train.epochs * begun),
        ran=card.log[-1].step,
        peak_share=min(1.0, saved / math.ceil(card.train.warmup * planned)),
    )
