"""A model of two words that a card can be written for, and the card."""

import functools

from embsweep.reports.card.build import build_card
from tests.toy_models import make_static


@functools.cache
def card_model():
    """384 dimensions, no transformer."""
    return make_static(["w0", "w1"], [[0.0] * 384] * 2)


def write(evidence):
    return build_card(evidence, card_model())
