"""The precision of each card's test set: counts behind its accuracies, confidence intervals."""

import math

import numpy as np
import pytest

from embsweep.recipes.cards import load_cards, read_queries

CARDS = load_cards()


@pytest.mark.parametrize(
    ("name", "first", "in_top"), [("ca_procedures", 1, 7), ("de_tax", 11, 363), ("es_boe", 1485, 1973)]
)
def test_counts_behind_the_accuracies(name, first, in_top):
    counts = read_queries(CARDS[name])
    assert (counts.first, counts.in_top) == (first, in_top)


def test_the_interval_is_wilsons():
    """Wilson 1927: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), here for 7 of 9."""
    z, n, p = 1.959963984540054, 9, 7 / 9
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    counts = read_queries(CARDS["ca_procedures"])
    assert counts.interval == pytest.approx(((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)))


def test_the_interval_narrows_with_the_number_of_queries():
    few, many = (np.ptp(read_queries(CARDS[name]).interval) for name in ("ca_procedures", "es_boe"))
    assert few > 0.4 > 0.05 > many


def test_one_card_shows_signs_of_repeated_passages():
    assert [name for name, card in CARDS.items() if read_queries(card).is_scattered] == ["de_tax"]
