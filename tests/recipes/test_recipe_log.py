"""Evaluation logs of the cards: given the log, our checkpoint rule chooses the row that the card saved."""

import pytest

from embsweep.recipes.cards import count_steps, load_cards

CARDS = load_cards()


@pytest.mark.parametrize("name", CARDS)
def test_the_cards_rule_chooses_the_saved_row(name):
    card = CARDS[name]
    assert card.choose_epoch(card.chosen_by) == card.saved_epoch
    assert [row.saved for row in card.log].count(True) == 1


@pytest.mark.parametrize("name", CARDS)
def test_no_other_dimension_explains_all_saved_rows(name):
    """`chosen_by` 128 is inferred: it is the only dimension that fits the three cards."""
    fits = [
        dim
        for dim in (768, 512, 256, 128, 64)
        if all(card.choose_epoch(dim) == card.saved_epoch for card in CARDS.values())
    ]
    assert fits == [CARDS[name].chosen_by] == [128]


@pytest.mark.parametrize("name", CARDS)
def test_reported_figures_are_those_of_the_last_row_not_of_the_saved_one(name):
    card = CARDS[name]
    assert card.reported_epoch == len(card.log) != card.saved_epoch


@pytest.mark.parametrize(
    ("name", "saved", "reported", "by_profile", "best_by_dim"),
    [
        ("es_boe", 2, 7, 2, {1024: 1, 768: 1, 512: 1, 256: 1, 128: 2, 64: 3}),
        ("ca_procedures", 2, 5, 2, {1024: 3, 768: 2, 512: 4, 256: 4, 128: 2, 64: 2}),
        ("de_tax", 5, 10, 5, {768: 6, 512: 9, 256: 9, 128: 5, 64: 5}),
    ],
)
def test_best_epoch_for_each_deployed_dimension(name, saved, reported, by_profile, best_by_dim):
    card = CARDS[name]
    assert (card.saved_epoch, card.reported_epoch, card.choose_epoch()) == (saved, reported, by_profile)
    assert {dim: card.choose_epoch(dim) for dim in card.dims} == best_by_dim


@pytest.mark.parametrize(
    ("name", "card", "here"), [("es_boe", 4150, 4200), ("ca_procedures", 6, 6), ("de_tax", 190, 200)]
)
def test_steps_of_a_schedule_on_the_card_and_here(name, card, here):
    steps = count_steps(CARDS[name])
    assert (steps.card, steps.here) == (card, here)


@pytest.mark.parametrize(("name", "share"), [("es_boe", 166 / 415), ("ca_procedures", 1), ("de_tax", 1)])
def test_share_of_the_peak_learning_rate_when_the_weights_were_saved(name, share):
    assert count_steps(CARDS[name]).peak_share == pytest.approx(share)
