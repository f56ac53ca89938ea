"""Choice of the evaluation whose weights are kept, against three published training logs."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.checkpoint import best_epoch_per_dim, choose_checkpoint
from embsweep.selection.objective import compute_objective, is_better

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
AT_128 = ObjectiveConfig(metric="map@100", aggregate="mean", dim_weights={128: 1.0})
evaluations = st.fixed_dictionaries(dict.fromkeys((1024, 128, 64), st.floats(0, 1) | st.just(math.nan)))
LOGS = {  # model → best epoch of each single dimension, and of the mean of all; epochs are counted from 1
    "adriansanz/bge-m3-es-legal-tmp-6": ({1024: 3, 768: 2, 512: 4, 256: 4, 128: 2, 64: 2}, 2),
    "littlejohn-ai/bge-m3-spanish-boe-qa": ({1024: 1, 768: 1, 512: 1, 256: 1, 128: 2, 64: 3}, 2),
    "akot/bge-semantic-bmf-matryoshka": ({768: 6, 512: 9, 256: 9, 128: 5, 64: 5}, 5),
}


def of(values):
    return {dim: {"map@100": value} for dim, value in values.items()}


@pytest.fixture(scope="module")
def cards():
    path = Path(__file__).resolve().parents[3] / "shared" / "reference" / "published_cards.json"
    if not path.is_file():
        pytest.skip("../shared/reference is absent")
    return {card["model"]: card["evaluation_log"] for card in json.loads(path.read_text("utf-8"))}


def to_log(rows):
    names = {int(key.split("_")[1]): key for key in rows[0] if key.endswith("map@100")}
    return [of({dim: row[key] for dim, key in names.items()}) for row in rows]


@pytest.mark.parametrize("model", LOGS)
def test_dimension_128_chooses_the_published_checkpoints(cards, model):
    saved = [index for index, row in enumerate(cards[model]) if row["saved_checkpoint"]]
    assert [choose_checkpoint(to_log(cards[model]), AT_128)] == saved


@pytest.mark.parametrize("model", LOGS)
def test_best_epoch_of_every_dimension_and_of_the_mean(cards, model):
    log = to_log(cards[model])
    by_dim, by_mean = LOGS[model]
    assert {dim: index + 1 for dim, index in best_epoch_per_dim(log, "map@100").items()} == by_dim
    assert choose_checkpoint(log, MEAN) + 1 == by_mean


@pytest.mark.slow
@given(st.lists(evaluations, max_size=8), st.sampled_from([MEAN, AT_128]))
def test_agrees_with_choosing_evaluation_by_evaluation(log, config):
    kept, best = None, None
    for index, values in enumerate(log):  # like a trial at its rungs
        objective = compute_objective(of(values), config)
        if best is None or is_better(objective, best):
            if not math.isfinite(objective):
                continue
            kept, best = index, objective
    assert choose_checkpoint([of(values) for values in log], config) == kept


@pytest.mark.slow
@given(st.lists(evaluations, min_size=1, max_size=8))
def test_the_chosen_evaluation_is_the_first_of_the_best_finite_ones(log):
    objectives = [compute_objective(of(values), MEAN) for values in log]
    finite = [value for value in objectives if math.isfinite(value)]
    chosen = choose_checkpoint([of(values) for values in log], MEAN)
    assert chosen == (objectives.index(max(finite)) if finite else None)


def test_constraints_are_compared_before_the_mean():
    log = [of({1024: 0.5, 64: 0.9}), of({1024: 0.6, 64: 0.4}), of({1024: 0.55, 64: 0.9})]
    assert choose_checkpoint(log, MEAN) == 2
    assert choose_checkpoint(log, MEAN.model_copy(update={"floors": {1024: 0.58}})) == 1
    assert choose_checkpoint(log[::2], MEAN.model_copy(update={"floors": {1024: 0.58}})) == 1  # the smaller violation


def test_a_dimension_without_finite_scores_has_no_best_epoch():
    assert best_epoch_per_dim([of({64: math.nan, 32: 0.1}), of({64: math.nan, 32: 0.2})], "map@100") == {32: 1}
    assert choose_checkpoint([], MEAN) is None


def test_a_dimension_that_is_evaluated_later_counts_from_then():
    assert best_epoch_per_dim([of({64: 0.2}), of({64: 0.1, 32: 0.1}), of({64: 0.1, 32: 0.3})], "map@100") == {
        64: 0,
        32: 2,
    }
