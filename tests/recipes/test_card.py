"""The packaged cards agree with the published model cards."""

import math
from fractions import Fraction

import pytest
from pydantic import ValidationError
from tests.refusals import raises_diagnostics

from embsweep.recipes.cards import METRIC, Card, find_card, load_cards

NAMES = ["ca_procedures", "de_tax", "es_boe"]
SETTINGS = {
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "lr_scheduler_type": "scheduler",
    "warmup_ratio": "warmup",
    "optim": "optimizer",
    "batch_sampler": "batch_sampler",
    "tf32": "tf32",
    "gradient_checkpointing": "gradient_checkpointing",
}
"""Names of hyperparameters on the cards → ours."""
CHECKED_SEPARATELY = {"eval_strategy", "per_device_eval_batch_size", "bf16", "load_best_model_at_end"}


def test_there_are_three_cards():
    assert sorted(load_cards()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_the_published_ones(published, name):
    card = load_cards()[name]
    facts = published[card.model]
    assert (card.base_model, card.train_pairs, card.max_seq_length) == (
        facts["base_model"],
        facts["train_pairs"],
        facts["max_seq_length"],
    )
    assert list(card.dims) == [int(key.removeprefix("dim_")) for key in facts["reported_metrics"]]
    assert card.weights == (1.0,) * len(card.dims)
    reported = {int(key.removeprefix("dim_")): value for key, value in facts["reported_metrics"].items()}
    assert card.reported == {dim: values["cosine_map@100"] for dim, values in reported.items()}
    assert card.accuracy == {k: reported[card.dims[0]][f"cosine_accuracy@{k}"] for k in (1, 3, 5, 10)}


@pytest.mark.parametrize("name", NAMES)
def test_hyperparameters_are_the_published_ones(published, name):
    card = load_cards()[name]
    stated = published[card.model]["non_default_hyperparameters"]
    for key, text in stated.items():
        if key not in CHECKED_SEPARATELY:
            ours = getattr(card.train, SETTINGS[key])
            assert str(ours) == text or float(text) == ours
    assert (stated["eval_strategy"], stated["bf16"], card.train.precision) == ("epoch", "True", "bf16")
    assert card.train.gradient_checkpointing == ("gradient_checkpointing" in stated)


@pytest.mark.parametrize("name", NAMES)
def test_log_rows_are_the_published_ones(published, name):
    card = load_cards()[name]
    rows = published[card.model]["evaluation_log"]
    assert [(row.epoch, row.step, row.saved) for row in card.log] == [
        (row["Epoch"], row["Step"], row["saved_checkpoint"]) for row in rows
    ]
    for ours, theirs in zip(card.log, rows, strict=True):
        assert ours.scores == {dim: theirs[f"dim_{dim}_cosine_{METRIC}"] for dim in card.dims}


@pytest.mark.parametrize("name", NAMES)
def test_number_of_queries_is_the_smallest_that_explains_every_accuracy(published, name):
    card = load_cards()[name]
    accuracies = [
        value
        for values in published[card.model]["reported_metrics"].values()
        for key, value in values.items()
        if key.startswith("cosine_accuracy")
    ]
    parts = [Fraction(value).limit_denominator(card.test_queries) for value in accuracies]
    assert all(math.isclose(float(part), value, abs_tol=1e-12) for part, value in zip(parts, accuracies, strict=True))
    assert math.lcm(*(part.denominator for part in parts)) == card.test_queries


@pytest.mark.parametrize("name", NAMES)
def test_patience_agrees_with_the_log(name):
    """A log that ends before its last epoch was stopped early: patience = number of evaluations after the saved one."""
    card = load_cards()[name]
    after = len(card.log) - 1 - next(index for index, row in enumerate(card.log) if row.saved)
    ended_early = card.log[-1].epoch < card.train.epochs - 1
    assert card.train.patience == (after if ended_early else None)


def test_a_card_is_immutable_and_has_no_other_fields():
    card = find_card("es_boe")
    with pytest.raises(ValidationError):
        card.train_pairs = 1
    with pytest.raises(ValidationError):
        Card.model_validate({**card.model_dump(), "rating": 5})


@pytest.mark.parametrize(("name", "nearest"), [("es_beo", "es_boe"), ("x", None)])
def test_an_unknown_name(name, nearest):
    with raises_diagnostics(("unknown-name", "NAME")) as caught:
        find_card(name)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.value == name
    assert nearest in str(diagnostic.hint) if nearest else diagnostic.hint is None
    assert "ca_procedures" in str(diagnostic.expected)
