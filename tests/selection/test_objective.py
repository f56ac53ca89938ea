"""The objective and its order."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.objective import (
    compute_objective,
    compute_objectives,
    counted_dims,
    describe_objective,
    describe_violations,
    is_better,
    resolve_floors,
)
from tests.texts import numbers_in

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
WORST = ObjectiveConfig(metric="map@100", aggregate="worst")
DIMS = (1024, 256, 64)
score = st.floats(0, 1)
scores = st.dictionaries(st.integers(1, 2048), score, min_size=1, max_size=8)
served = st.fixed_dictionaries(dict.fromkeys(DIMS, score))


def of(values):
    return {dim: {"map@100": value, "ndcg@10": 0.0} for dim, value in values.items()}


@st.composite
def objective_configs(draw):
    """Draw an objective over DIMS, with or without constraints."""
    aggregate = draw(st.sampled_from(["mean", "worst"]))
    weights = st.none() if aggregate == "worst" else st.none() | st.fixed_dictionaries(dict.fromkeys(DIMS, score))
    found = draw(weights)
    assume(found is None or max(found.values()) > 1e-3)
    return ObjectiveConfig(
        metric="map@100",
        aggregate=aggregate,
        dim_weights=found,
        floors=draw(st.none() | st.dictionaries(st.sampled_from(DIMS), score)),
        min_retention=draw(st.none() | st.floats(0.01, 1)),
    )


@given(scores)
def test_objective_is_between_the_worst_and_the_best_dimension(values):
    found = compute_objective(of(values), MEAN)
    assert min(values.values()) - 1e-12 <= found <= max(values.values()) + 1e-12
    assert compute_objective(of(values), WORST) == min(values.values())


@pytest.mark.slow
@given(served, objective_configs())
def test_objective_does_not_depend_on_the_order_of_dimensions(values, config):
    weights, floors = ({**dict(reversed(d.items()))} if d else d for d in (config.dim_weights, config.floors))
    reordered = config.model_copy(update={"dim_weights": weights, "floors": floors})
    assert compute_objective(of(dict(reversed(values.items()))), reordered) == compute_objective(of(values), config)


@given(served, objective_configs(), st.sampled_from(DIMS), score)
def test_objective_never_falls_when_a_score_rises(values, config, dim, higher):
    assume(config.min_retention is None or dim != DIMS[0])  # if the largest one rises, the others must retain more
    better = {**values, dim: max(values[dim], higher)}
    assert compute_objective(of(better), config) >= compute_objective(of(values), config) - 1e-12


@pytest.mark.slow
@given(served, objective_configs())
def test_objective_is_negative_only_if_a_constraint_is_violated(values, config):
    objective = compute_objective(of(values), config)
    is_feasible = not describe_violations(of(values), config)
    assert (objective >= 0) is is_feasible
    assert is_better(0.0, objective) is not is_feasible


@given(served, objective_configs(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_non_finite_score_never_wins(values, config, bad):
    for dim in counted_dims(DIMS, config):
        assert not is_better(compute_objective(of({**values, dim: bad}), config), None)


@given(st.lists(served, min_size=1, max_size=5), objective_configs())
def test_vectorised_objectives_equal_single_ones(many, config):
    columns = {dim: np.array([values[dim] for values in many]) for dim in DIMS}
    assert compute_objectives(columns, config).tolist() == [compute_objective(of(values), config) for values in many]


@pytest.mark.slow
@given(served, objective_configs())
def test_a_base_model_meets_its_own_floors(values, config):
    own = config.model_copy(update={"floors": dict.fromkeys(DIMS, "base"), "min_retention": None})
    resolved = resolve_floors(own, of(values))
    assert describe_violations(of(values), resolved) == ()
    assert compute_objective(of(values), resolved) >= 0


def test_weights():
    config = ObjectiveConfig(metric="map@100", aggregate="mean", dim_weights={1024: 3.0, 64: 1.0})
    assert compute_objective(of({1024: 0.8, 512: 0.1, 64: 0.4}), config) == pytest.approx(0.7)
    assert counted_dims((1024, 512, 64), config) == (1024, 64)


def test_another_metric():
    config = ObjectiveConfig(metric="ndcg@10", aggregate="mean")
    assert compute_objective({64: {"map@100": 0.1, "ndcg@10": 0.9}}, config) == 0.9


@pytest.mark.parametrize("config", [MEAN, WORST])
def test_a_nan_anywhere_makes_nan(config):
    assert math.isnan(compute_objective(of({64: math.nan, 128: 0.5}), config))
    assert math.isnan(compute_objective(of({64: 0.5, 128: math.nan}), config))


def test_a_nan_that_counts_only_in_a_constraint_makes_nan():
    weighted = {"metric": "map@100", "aggregate": "mean", "dim_weights": {64: 1.0}}
    values = of({1024: math.nan, 64: 0.5})
    assert compute_objective(values, ObjectiveConfig(**weighted)) == 0.5
    assert math.isnan(compute_objective(values, ObjectiveConfig(**weighted, floors={1024: 0.1})))
    assert math.isnan(compute_objective(values, ObjectiveConfig(**weighted, min_retention=0.5)))


def test_a_violation_is_minus_the_total_shortfall():
    config = ObjectiveConfig(metric="map@100", aggregate="mean", floors={1024: 0.6, 64: 0.2}, min_retention=0.8)
    values = of({1024: 0.5, 256: 0.35, 64: 0.45})
    assert compute_objective(values, config) == pytest.approx(-(0.1 + 0.05))
    lines = describe_violations(values, config)
    assert len(lines) == 2
    assert "1024 is 0.5000" in lines[0] and "0.6000 by 0.1000" in lines[0]
    assert "256 is 0.3500" in lines[1] and "0.4000 by 0.0500" in lines[1]


def test_rounding_is_no_violation():
    config = ObjectiveConfig(metric="map@100", aggregate="mean", min_retention=0.9)
    assert 0.9 * 0.8 > 0.72  # the rounding error of float64
    assert compute_objective(of({1024: 0.8, 64: 0.72}), config) == pytest.approx(0.7600)


def test_a_floor_must_be_resolved_first():
    config = ObjectiveConfig(metric="map@100", aggregate="mean", floors={1024: "base", 64: 0.1})
    with pytest.raises(ValueError, match="1024"):
        compute_objective(of({1024: 0.5, 64: 0.5}), config)
    assert resolve_floors(config, of({1024: 0.45, 64: 0.3})).floors == {1024: 0.45, 64: 0.1}
    assert resolve_floors(MEAN, of({1024: 0.45})) == MEAN
    with pytest.raises(ValueError, match="1024"):
        resolve_floors(config, of({64: 0.3}))


def test_descriptions_name_the_constraints():
    assert {"mean", "map@100"} <= {*describe_objective(MEAN).split()}
    config = ObjectiveConfig(metric="map@100", aggregate="worst", floors={64: 0.2, 1024: "base"}, min_retention=0.8)
    found = describe_objective(config)
    assert {"worst", "map@100,"} <= {*found.split()}
    assert numbers_in(found) == [100, 1024, 64, 0.2, 80]
    assert found.index("1024") < found.index("base") < found.index("0.2")


@pytest.mark.parametrize(
    ("value", "best", "expected"),
    [
        (0.5, None, True),
        (0.5, 0.4, True),
        (0.5, 0.5, False),
        (0.4, 0.5, False),
        (-0.2, -0.3, True),
        (math.nan, None, False),
        (math.nan, 0.1, False),
        (math.inf, 0.1, False),
    ],
)
def test_is_better(value, best, expected):
    assert is_better(value, best) is expected
