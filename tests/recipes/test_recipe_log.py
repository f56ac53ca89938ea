"""Evaluation logs of the cards: given the log, our checkpoint rule chooses the row that the card saved."""

import pytest

from embsweep.recipes.cards import choose_by, choose_row, count_steps, find_reported, find_saved, load_cards, read_log

CARDS = load_cards()


@pytest.mark.parametrize("name", CARDS)
def test_the_cards_rule_chooses_the_saved_row(name):
    card = CARDS[name]
    assert choose_row(card, card.objective) == find_saved(card)
    assert [row.saved for row in card.log].count(True) == 1


@pytest.mark.parametrize("name", CARDS)
def test_no_other_dimension_explains_all_saved_rows(name):
    """`chosen_by` 128 is inferred: it is the only dimension that fits the three cards."""
    fits = [
        dim
        for dim in (768, 512, 256, 128, 64)
        if all(choose_row(card, choose_by(dim)) == find_saved(card) for card in CARDS.values())
    ]
    assert fits == [CARDS[name].chosen_by] == [128]


@pytest.mark.parametrize("name", CARDS)
def test_reported_figures_are_those_of_the_last_row_not_of_the_saved_one(name):
    card = CARDS[name]
    assert find_reported(card) == len(card.log) - 1 != find_saved(card)


@pytest.mark.parametrize(
    ("name", "saved", "reported", "by_profile", "best_by_dim"),
    [
        ("es_boe", 2, 7, 2, {1024: 1, 768: 1, 512: 1, 256: 1, 128: 2, 64: 3}),
        ("ca_procedures", 2, 5, 2, {1024: 3, 768: 2, 512: 4, 256: 4, 128: 2, 64: 2}),
        ("de_tax", 5, 10, 5, {768: 6, 512: 9, 256: 9, 128: 5, 64: 5}),
    ],
)
def test_best_epoch_for_each_deployed_dimension(name, saved, reported, by_profile, best_by_dim):
    log = read_log(CARDS[name])
    assert (log.saved, log.reported, log.by_profile) == (saved, reported, by_profile)
    assert dict(log.wanted) == best_by_dim


@pytest.mark.parametrize(
    ("name", "card", "here", "ran"),
    [("es_boe", 4150, 4200, 584), ("ca_procedures", 6, 6, 6), ("de_tax", 190, 200, 190)],
)
def test_steps_of_a_schedule_on_the_card_and_here(name, card, here, ran):
    steps = count_steps(CARDS[name])
    assert (steps.card, steps.here, steps.ran) == (card, here, ran)


@pytest.mark.parametrize(("name", "share"), [("es_boe", 166 / 415), ("ca_procedures", 1), ("de_tax", 1)])
def test_share_of_the_peak_learning_rate_when_the_weights_were_saved(name, share):
    assert count_steps(CARDS[name]).peak_share == pytest.approx(share)
