"""The three recipe sweeps: trial 0 is the card's recipe except for the objective; the others search around it."""

import pytest

from embsweep.config import build_config, check_trainable
from embsweep.config.search_space import FloatRange, IntRange, boundary_values, contains
from embsweep.config.training import TrainConfig
from embsweep.recipes.cards import load_cards
from embsweep.recipes.comparison import compare_recipe

CARDS = load_cards()
SEARCHED = {"train.learning_rate", "train.epochs", "train.warmup", "matryoshka", "matryoshka.weight_power"}


def differing(card, config):
    return {fact.key for fact in compare_recipe(card, config) if not fact.is_equal}


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_trial_0_is_the_card_except_for_the_objective(recipe_of, name):
    assert differing(CARDS[name], recipe_of(name)) == {"objective"}
    assert recipe_of(name).objective.dim_weights is None


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_with_the_cards_objective_nothing_differs(recipe_of, name):
    assert differing(CARDS[name], recipe_of(name, "objective=dim_128")) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_trial_0_is_within_its_space(request_of, name):
    request = request_of(name)
    assert {dimension.key for dimension in request.space} >= SEARCHED
    assert set(request.recipe) == {dimension.key for dimension in request.space}
    assert all(contains(dimension, request.recipe[dimension.key]) for dimension in request.space)
    assert request.configure(request.recipe) == build_config(request.values)
    assert request.values["search"]["recipe_first"] is True


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_the_bounds_of_all_numbers_can_be_trained_with_every_choice(request_of, name):
    """Conflicts between two keys do not appear if only one of them is at its bound."""
    request = request_of(name)
    numbers = [d for d in request.space if isinstance(d, IntRange | FloatRange)]
    for side in (0, 1):
        corner = {d.key: boundary_values(d)[side] for d in numbers}
        for choice in (d for d in request.space if d not in numbers):
            for option in choice.options:
                config = request.configure({**corner, choice.key: option})
                assert check_trainable(config) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_the_first_rung_is_never_before_the_first_evaluation(request_of, recipe_of, name):
    """Otherwise a short schedule passes several rungs at once (search/pruners.py)."""
    config = recipe_of(name)
    epochs = next(d for d in request_of(name).space if d.key == "train.epochs")
    assert all(config.eval.schedule(end)[0] <= config.stopping.min_fraction for end in boundary_values(epochs))


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_pairs_are_set_by_the_user(request_of, recipe_of, name):
    assert request_of(name).values["data"]["pairs"] == "???"
    config = recipe_of(name, "data=beir", "data.path=x")
    assert (config.data.kind, config.data.path) == ("beir", "x")


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_the_cached_loss_is_searched_only_without_gradient_checkpointing(request_of, name):
    request = request_of(name)
    losses = {request.configure({d.key: v}).loss.name for d in request.space for v in boundary_values(d)}
    assert ("cached_mnrl" in losses) is not CARDS[name].train.gradient_checkpointing


@pytest.mark.slow
def test_cached_batches_have_the_size_of_the_accumulated_ones(recipe_of):
    accumulated, cached = recipe_of("de_tax"), recipe_of("de_tax", "train=cached_256")
    assert cached.train.batch_size == accumulated.train.batch_size * accumulated.train.accumulation
    assert (cached.train.accumulation, cached.loss.name) == (1, "cached_mnrl")
    assert differing(CARDS["de_tax"], cached) == {"objective", "loss.name", "train.batch_size", "train.accumulation"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.epochs=3", "train.epochs"),
        ("train.tf32=null", "train.tf32"),
        ("train.patience=null", "train.patience"),
        ("model.max_seq_length=512", "model.max_seq_length"),
        ("matryoshka.weight_power=0.5", "matryoshka.weights"),
        ("eval.dims=[1024,64]", "eval.dims"),
        ("eval.per_epoch=2", "eval.per_epoch"),
    ],
)
def test_one_change_is_one_difference(recipe_of, override, key):
    assert differing(CARDS["es_boe"], recipe_of("es_boe", override)) == {"objective", key}


def test_every_training_setting_is_compared(recipe_of):
    compared = {fact.key for fact in compare_recipe(CARDS["es_boe"], recipe_of("es_boe"))}
    assert compared >= {f"train.{name}" for name in TrainConfig.model_fields}
