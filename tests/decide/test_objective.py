"""The objective and what beats what."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.config.training import ObjectiveConfig
from embsweep.decide.objective import compute_objective, is_better

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
WORST = ObjectiveConfig(metric="map@100", aggregate="worst")
scores = st.dictionaries(st.integers(1, 2048), st.floats(0, 1), min_size=1, max_size=8)


def of(values):
    return {dim: {"map@100": value, "ndcg@10": 0.0} for dim, value in values.items()}


@given(scores)
def test_does_not_depend_on_the_order_of_dimensions(values):
    turned = dict(reversed(values.items()))
    assert compute_objective(of(values), MEAN) == compute_objective(of(turned), MEAN)
    assert compute_objective(of(values), WORST) == compute_objective(of(turned), WORST)


@given(scores)
def test_lies_between_the_worst_and_the_best_dimension(values):
    found = compute_objective(of(values), MEAN)
    assert min(values.values()) - 1e-12 <= found <= max(values.values()) + 1e-12
    assert compute_objective(of(values), WORST) == min(values.values())


def test_weights():
    config = ObjectiveConfig(metric="map@100", aggregate="mean", dim_weights={1024: 3.0, 64: 1.0})
    assert compute_objective(of({1024: 0.8, 512: 0.1, 64: 0.4}), config) == pytest.approx(0.7)


def test_another_metric():
    config = ObjectiveConfig(metric="ndcg@10", aggregate="mean")
    assert compute_objective({64: {"map@100": 0.1, "ndcg@10": 0.9}}, config) == 0.9


@pytest.mark.parametrize("config", [MEAN, WORST])
def test_a_nan_anywhere_makes_nan(config):
    assert math.isnan(compute_objective(of({64: math.nan, 128: 0.5}), config))
    assert math.isnan(compute_objective(of({64: 0.5, 128: math.nan}), config))


@pytest.mark.parametrize(
    ("value", "best", "expected"),
    [
        (0.5, None, True),
        (0.5, 0.4, True),
        (0.5, 0.5, False),
        (0.4, 0.5, False),
        (math.nan, None, False),
        (math.nan, 0.1, False),
        (math.inf, 0.1, False),
    ],
)
def test_is_better(value, best, expected):
    assert is_better(value, best) is expected
