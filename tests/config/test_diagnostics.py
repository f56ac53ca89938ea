"""Invalid values: one diagnostic under the dotted key, with the accepted values and the nearest spelling."""

import pytest
from pydantic import ValidationError

from embsweep.config import build_config
from embsweep.core.errors import Diagnostic, InputError


@pytest.fixture
def diagnostics_of(make_config):
    """Return a function that returns the diagnostics of a configuration with these overrides."""

    def find(*overrides):
        with pytest.raises(InputError) as caught:
            make_config(*overrides)
        return caught.value.diagnostics

    return find


CASES = [
    # types
    ("train.epochs=abc", "train.epochs", "wrong-type"),
    ("train.epochs=true", "train.epochs", "wrong-type"),
    ("train.epochs=null", "train.epochs", "missing-value"),
    ("train.epochs=inf", "train.epochs", "out-of-range"),
    ("train.warmup=nan", "train.warmup", "out-of-range"),
    ("search.trials=1.5", "search.trials", "wrong-type"),
    ("search.trials='3'", "search.trials", "wrong-type"),
    ("search.schedules=many", "search.schedules", "wrong-type"),
    ("stopping.paused_states=1.5", "stopping.paused_states", "wrong-type"),
    ("sweep.fresh=1", "sweep.fresh", "wrong-type"),
    ("sweep.name=3", "sweep.name", "wrong-type"),
    ("storage.path=3", "storage.path", "wrong-type"),
    ("storage=3", "storage", "wrong-type"),
    ("data.split=null", "data.split", "missing-value"),
    # ranges
    ("search.trials=0", "search.trials", "out-of-range"),
    ("train.learning_rate=-1", "train.learning_rate", "out-of-range"),
    ("train.learning_rate=2", "train.learning_rate", "out-of-range"),
    ("train.batch_size=1", "train.batch_size", "out-of-range"),
    ("train.warmup=1", "train.warmup", "out-of-range"),
    ("stopping.min_fraction=0.01", "stopping.min_fraction", "out-of-range"),
    ("stopping.reduction_factor=1", "stopping.reduction_factor", "out-of-range"),
    ("stopping.paused_states=-1", "stopping.paused_states", "out-of-range"),
    ("search.schedules=0", "search.schedules", "out-of-range"),
    ("runner.gpus_per_trial=2", "runner.gpus_per_trial", "out-of-range"),
    # names
    ("search.sampler=tpes", "search.sampler", "unknown-option"),
    ("stopping.kind=promotions", "stopping.kind", "unknown-option"),
    ("train.scheduler=linaer", "train.scheduler", "unknown-option"),
    ("objective.metric=map@10", "objective.metric", "unknown-option"),
    ("objective.metric=ndgc@10", "objective.metric", "unknown-option"),
    ("data.kind=fils", "data.kind", "unknown-option"),
    ("+train={epoch: 1}", "train.epoch", "unknown-key"),
    ("+data.split={sed: 1}", "data.split.sed", "unknown-key"),
    ("+data.pakages=[x]", "data.pakages", "unknown-key"),
    ("sweep.name=../x", "sweep.name", "bad-name"),
    ("sweep.name='über'", "sweep.name", "bad-name"),
    ("sweep.name=", "sweep.name", "bad-name"),
    ("sweep.name=.hidden", "sweep.name", "bad-name"),
    # dimensions and weights
    ("matryoshka.dims=[64,128]", "matryoshka.dims", "wrong-order"),
    ("matryoshka.dims=[128,128,64]", "matryoshka.dims", "duplicate-value"),
    ("eval.dims=[64,128]", "eval.dims", "wrong-order"),
    ("matryoshka.dims=[]", "matryoshka.dims", "empty"),
    ("matryoshka.dims=1024", "matryoshka.dims", "wrong-type"),
    ("matryoshka.dims=[1.5]", "matryoshka.dims.0", "wrong-type"),
    ("matryoshka.dims=[64,0]", "matryoshka.dims.1", "out-of-range"),
    ("matryoshka.weights=[1,2]", "matryoshka.weights", "wrong-length"),
    ("matryoshka.weights=[0,0,0,0,0,0]", "matryoshka.weights", "bad-weights"),
    ("matryoshka.weights=[1,1,1,1,1,-1]", "matryoshka.weights", "bad-weights"),
    ("objective.dim_weights={}", "objective.dim_weights", "bad-weights"),
    ("objective.dim_weights={64: 0}", "objective.dim_weights", "bad-weights"),
    ("objective.dim_weights={64: -1, 128: 2}", "objective.dim_weights", "bad-weights"),
    ("objective.dim_weights={a: 1}", "objective.dim_weights.a", "wrong-type"),
    ("objective.dim_weights={64: x}", "objective.dim_weights.64", "wrong-type"),
    # several keys together
    ("eval.fractions=[0.5]", "eval.fractions", "wrong-order"),
    ("eval.fractions=[0.5,0.5,1.0]", "eval.fractions", "wrong-order"),
    ("eval.fractions=[0,1.0]", "eval.fractions", "wrong-order"),
    ("scale.rehearsal.fractions=[2]", "scale.rehearsal.fractions", "wrong-order"),
    ("data.split.test=0.95", "data.split", "out-of-range"),
    ("model.source=null", "model.source", "missing-value"),
    ("loss.mini_batch_size=0", "loss.mini_batch_size", "wrong-type"),
    ("loss.mini_batch_size=1.5", "loss.mini_batch_size", "wrong-type"),
    ("loss.mini_batch_size=largest", "loss.mini_batch_size", "wrong-type"),
    ("loss.mini_batch_size=auto", "loss.mini_batch_size", "conflict"),
    ("train.gradient_checkpointing=1", "train.gradient_checkpointing", "wrong-type"),
    ("train.gradient_checkpointing=on_gpu", "train.gradient_checkpointing", "wrong-type"),
    ("train.attention=flash", "train.attention", "unknown-option"),
    ("loss.mini_batch_size=3", "loss.mini_batch_size", "conflict"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "where", "code"), CASES)
def test_one_diagnostic_with_its_location(diagnostics_of, override, where, code):
    (diagnostic,) = diagnostics_of(override)
    assert (diagnostic.code, diagnostic.location) == (code, where)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "where", "code"),
    [
        (
            ["matryoshka=ends", "matryoshka.weights=[1,2]", "matryoshka.weight_power=1"],
            "matryoshka.weights",
            "conflict",
        ),
        (
            ["objective=worst", "objective.dim_weights={64: 1}"],
            "objective.dim_weights",
            "conflict",
        ),
        (
            ["loss=cached_mnrl", "loss.mini_batch_size=null"],
            "loss.mini_batch_size",
            "conflict",
        ),
    ],
)
def test_keys_that_exclude_each_other(diagnostics_of, overrides, where, code):
    (diagnostic,) = diagnostics_of(*overrides)
    assert (diagnostic.code, diagnostic.location) == (code, where)


def test_a_missing_part_and_a_missing_key():
    with pytest.raises(InputError) as caught:
        build_config({"data": {"kind": "beir", "path": "x"}})
    missing = {diagnostic.location for diagnostic in caught.value.diagnostics if diagnostic.code == "missing-value"}
    assert {"model", "train", "sweep", "data.split"} <= missing  # not `data.beir.split`


def test_every_diagnostic_at_once(diagnostics_of):
    found = diagnostics_of("train.epochs=abc", "search.trials=0", "objective.metric=x", "matryoshka.dims=[1,2]")
    assert {f.location for f in found} == {"train.epochs", "search.trials", "objective.metric", "matryoshka.dims"}


def test_a_wrong_element_does_not_also_make_the_list_empty(diagnostics_of):
    assert [f.location for f in diagnostics_of("matryoshka.dims=[x]")] == ["matryoshka.dims.0"]


def test_configuration_is_frozen(make_config):
    with pytest.raises(ValidationError):
        make_config().train.epochs = 3


@pytest.mark.parametrize(
    ("diagnostic", "text"),
    [
        (Diagnostic("bad-name", "a.b", "is wrong"), "a.b: is wrong"),
        (Diagnostic("bad-name", "a.b", "is wrong", 0), "a.b: is wrong; got 0"),
        (
            Diagnostic("bad-name", "a.b", "is wrong", "", "x, y", "fix it"),
            "a.b: is wrong; got ''; accepted: x, y; fix it",
        ),
        (Diagnostic("bad-name", "a.b", "is wrong", "x" * 500), f"a.b: is wrong; got '{'x' * 158}…"),
    ],
)
def test_text_of_a_diagnostic(diagnostic, text):
    assert str(diagnostic) == text


def test_a_list_for_one_value_names_the_search(diagnostics_of):
    (diagnostic,) = diagnostics_of("train.batch_size=[8,16]")
    assert diagnostic.hint == "to search them: train.batch_size=8,16"
