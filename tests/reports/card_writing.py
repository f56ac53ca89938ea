"""A model of two words, and the card written for it."""

import functools

from embsweep.reports.card.build import build_card
from tests.toy_models import make_static


@functools.cache
def card_model():
    """Return a static model with 384 dimensions."""
    return make_static(["w0", "w1"], [[0.0] * 384] * 2)


def write(evidence):
    return build_card(evidence, card_model())
