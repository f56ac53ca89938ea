"""Checks across parts of the configuration: trials that cannot be trained, models that cannot be measured."""

import pytest

from embsweep.config import check_trainable
from embsweep.config.root import check_measurable
from embsweep.config.training import standard_dims
from embsweep.core.errors import did_you_mean

SMALL = ("model=minilm", "matryoshka=from_384")
STATIC = ("model=static", "matryoshka=from_384")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "where", "code"),
    [
        (["model=minilm"], "matryoshka.dims", "out-of-range"),
        (["matryoshka.dims=[2048,64]"], "matryoshka.dims", "out-of-range"),
        ([*SMALL, "eval.dims=[512,64]"], "eval.dims", "out-of-range"),
        (["objective.dim_weights={7: 1}"], "objective.dim_weights.7", "not-evaluated"),
        (["eval.dims=[64]", "objective.dim_weights={128: 1}"], "objective.dim_weights.128", "not-evaluated"),
        (["model=static", "matryoshka=from_384", "loss=cached_mnrl"], "loss", "conflict"),
        (["loss=cached_mnrl", "train.gradient_checkpointing=true"], "train.gradient_checkpointing", "conflict"),
        (["search.schedules=3.5"], "search.schedules", "out-of-range"),
        (["stopping=none", "search.schedules=0.5"], "search.schedules", "out-of-range"),
        ([*STATIC, "train.attention=sdpa"], "train.attention", "no-effect"),
        ([*STATIC, "train.gradient_checkpointing=true"], "train.gradient_checkpointing", "no-effect"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_be_trained(make_config, overrides, where, code):
    (diagnostic,) = check_trainable(make_config(*overrides))
    assert (diagnostic.code, diagnostic.location) == (code, where)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["loss=mnrl", "loss=cached_mnrl"])
def test_settings_chosen_by_hardware_can_be_combined(make_config, loss):
    config = make_config(loss, "train.gradient_checkpointing=auto", "train.attention=auto")
    assert check_trainable(config) == []
    assert config.train.gradient_checkpointing == "auto"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["search.schedules=4"],
        ["search.schedules=3", "search.recipe_first=false"],
        ["search.schedules=2", "confirm.finalists=1"],
        ["stopping=successive_halving", "search.schedules=1"],
        ["stopping=hyperband", "search.schedules=1.5"],
    ],
)
def test_whole_schedules_that_let_a_trial_start(make_config, overrides):
    assert check_trainable(make_config(*overrides)) == []


def test_all_diagnostics_at_once(make_config):
    config = make_config("model=minilm", "eval.dims=[1024]", "objective.dim_weights={7: 1}")
    assert [f.location for f in check_trainable(config)] == ["matryoshka.dims", "eval.dims", "objective.dim_weights.7"]


def test_a_model_that_is_only_measured_ignores_the_trained_dims(make_config):
    assert check_measurable(make_config("model=minilm")) == []
    assert [f.location for f in check_measurable(make_config("model=minilm", "eval.dims=[512]"))] == ["eval.dims"]


def test_valid_weights_are_accepted(make_config):
    config = make_config("matryoshka=ends", "matryoshka.weights=[2,0]", "objective.dim_weights={1024: 0, 64: 3}")
    assert config.matryoshka.weights == (2.0, 0.0)
    assert config.objective.dim_weights == {1024: 0.0, 64: 3.0}
    assert check_trainable(config) == []


@pytest.mark.parametrize(
    ("dim", "dims"),
    [
        (1024, (1024, 768, 512, 256, 128, 64)),
        (384, (384, 256, 128, 64)),
        (1000, (1000, 768, 512, 256, 128, 64)),
        (64, (64,)),
        (8, (8,)),
    ],
)
def test_standard_dims_of_a_model(dim, dims):
    assert standard_dims(dim) == dims


def test_evaluated_dims_do_not_depend_on_the_trained_ones(make_config):
    assert make_config("matryoshka=ends").trial.eval_dims == make_config("matryoshka=halving").trial.eval_dims
    assert make_config("eval.dims=[512,64]").trial.eval_dims == (512, 64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.learnig_rate", "train.learning_rate"),
        ("learning_rat", "train.learning_rate"),
        ("trials", "search.trials"),
        ("modle", "model"),
        ("zzz", None),
        ("", None),
    ],
)
def test_nearest_spelling(name, expected):
    options = ["model", "train.learning_rate", "train.epochs", "search.trials"]
    assert did_you_mean(name, options) == (f"did you mean '{expected}'?" if expected else None)
