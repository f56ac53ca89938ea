"""A value that is not valid: one fault under its dotted key, with what is accepted and the nearest spelling."""

import pytest

from embsweep.config import build_config
from embsweep.errors import Fault, InputError


@pytest.fixture
def faults_of(make_config):
    """The faults of a configuration with these overrides."""

    def find(*overrides):
        with pytest.raises(InputError) as caught:
            make_config(*overrides)
        return caught.value.faults

    return find


CASES = [
    # types
    ("train.epochs=abc", "train.epochs", "does not fit; got 'abc'; accepted: a number"),
    ("train.epochs=true", "train.epochs", "does not fit; got True; accepted: a number"),
    ("train.epochs=null", "train.epochs", "is null; accepted: a number"),
    ("train.epochs=inf", "train.epochs", "got inf; accepted: a finite number"),
    ("train.warmup=nan", "train.warmup", "got nan; accepted: a finite number"),
    ("search.trials=1.5", "search.trials", "got 1.5; accepted: an integer"),
    ("search.trials='3'", "search.trials", "got '3'; accepted: an integer"),
    ("sweep.fresh=1", "sweep.fresh", "got 1; accepted: true or false"),
    ("sweep.name=3", "sweep.name", "got 3; accepted: text"),
    ("storage.path=3", "storage.path", "got 3; accepted: text"),
    ("storage=3", "storage", "got 3; accepted: keys with values"),
    ("data.split=null", "data.split", "is null; accepted: keys with values"),
    # ranges
    ("search.trials=0", "search.trials", "got 0; accepted: greater than or equal to 1"),
    ("train.learning_rate=-1", "train.learning_rate", "got -1; accepted: greater than 0"),
    ("train.learning_rate=2", "train.learning_rate", "got 2; accepted: less than or equal to 1"),
    ("train.batch_size=1", "train.batch_size", "got 1; accepted: greater than 1"),
    ("train.warmup=1", "train.warmup", "got 1; accepted: less than 1"),
    ("stopping.min_fraction=0.01", "stopping.min_fraction", "accepted: greater than or equal to 0.05"),
    ("runner.gpus_per_trial=2", "runner.gpus_per_trial", "at most one GPU; got 2.0; accepted: 0 to 1"),
    # names
    ("search.sampler=tpes", "search.sampler", "accepted: 'tpe', 'random', 'qmc', 'gp' or 'grid'; did you mean 'tpe'?"),
    ("train.scheduler=linaer", "train.scheduler", "did you mean 'linear'?"),
    ("objective.metric=map@10", "objective.metric", "unknown metric; got 'map@10'; accepted: accuracy@1, "),
    ("objective.metric=ndgc@10", "objective.metric", "did you mean 'ndcg@10'?"),
    ("data.kind=fils", "data.kind", "got 'fils'; accepted: docstrings, files, beir, hub; did you mean 'files'?"),
    ("+train={epoch: 1}", "train.epoch", "unknown key; accepted: accumulation, attention, batch_sampler, "),
    ("+train={epoch: 1}", "train.epoch", "did you mean 'epochs'?"),
    ("+data.split={sed: 1}", "data.split.sed", "accepted: seed, test, validation; did you mean 'seed'?"),
    ("+data.pakages=[x]", "data.pakages", "did you mean 'packages'?"),
    ("sweep.name=../x", "sweep.name", "got '../x'; accepted: 1 to 80 letters"),
    ("sweep.name='über'", "sweep.name", "cannot be the name of a folder; got 'über'"),
    ("sweep.name=", "sweep.name", "cannot be the name of a folder; got ''"),
    ("sweep.name=.hidden", "sweep.name", "beginning with a letter or digit"),
    # dimensions and weights
    ("matryoshka.dims=[64,128]", "matryoshka.dims", "128 stands after 64; got [64, 128]; accepted: dimensions"),
    ("matryoshka.dims=[128,128,64]", "matryoshka.dims", "128 is repeated; got [128, 128, 64]"),
    ("eval.dims=[64,128]", "eval.dims", "128 stands after 64"),
    ("matryoshka.dims=[]", "matryoshka.dims", "is empty; got []; accepted: at least one element"),
    ("matryoshka.dims=1024", "matryoshka.dims", "got 1024; accepted: a list"),
    ("matryoshka.dims=[1.5]", "matryoshka.dims.0", "got 1.5; accepted: an integer"),
    ("matryoshka.dims=[64,0]", "matryoshka.dims.1", "got 0; accepted: greater than 0"),
    ("matryoshka.weights=[1,2]", "matryoshka.weights", "2 weights for 6 dims; got [1.0, 2.0]; accepted: one weight a"),
    ("matryoshka.weights=[0,0,0,0,0,0]", "matryoshka.weights", "are no weights; got [0.0, 0.0"),
    ("matryoshka.weights=[1,1,1,1,1,-1]", "matryoshka.weights", "accepted: numbers from 0, at least one above 0"),
    ("objective.dim_weights={}", "objective.dim_weights", "are no weights; got {}"),
    ("objective.dim_weights={64: 0}", "objective.dim_weights", "are no weights; got {64: 0.0}"),
    ("objective.dim_weights={64: -1, 128: 2}", "objective.dim_weights", "accepted: numbers from 0"),
    ("objective.dim_weights={a: 1}", "objective.dim_weights.a", "got 'a'; accepted: an integer"),
    ("objective.dim_weights={64: x}", "objective.dim_weights.64", "got 'x'; accepted: a number"),
    # several keys together
    ("eval.fractions=[0.5]", "eval.fractions", "got [0.5]; accepted: numbers that rise strictly within (0, 1]"),
    ("eval.fractions=[0.5,0.5,1.0]", "eval.fractions", "rise strictly"),
    ("eval.fractions=[0,1.0]", "eval.fractions", "rise strictly"),
    ("scale.rehearsal.fractions=[2]", "scale.rehearsal.fractions", "got [2]; accepted: numbers that rise"),
    ("data.split.test=0.95", "data.split", "leaves nothing to train on; got {'validation': 0.1, 'test': 0.95}"),
    ("model.source=null", "model.source", "kind 'hub' needs it; accepted: a hub id"),
    ("loss.mini_batch_size=0", "loss.mini_batch_size", "is no size; got 0; accepted: an integer above 0, or auto"),
    ("loss.mini_batch_size=1.5", "loss.mini_batch_size", "is no size; got 1.5"),
    ("loss.mini_batch_size=largest", "loss.mini_batch_size", "is no size; got 'largest'"),
    ("loss.mini_batch_size=auto", "loss.mini_batch_size", "got 'auto'; accepted: null with loss=mnrl"),
    ("train.gradient_checkpointing=1", "train.gradient_checkpointing", "got 1; accepted: true, false or auto"),
    ("train.gradient_checkpointing=on_gpu", "train.gradient_checkpointing", "got 'on_gpu'; accepted: true, false"),
    ("train.attention=flash", "train.attention", "accepted: 'auto', 'eager', 'sdpa' or 'flash_attention_2'"),
    ("loss.mini_batch_size=3", "loss.mini_batch_size", "got 3; accepted: null with loss=mnrl; or add loss=cached_mnrl"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "where", "words"), CASES)
def test_one_fault_with_its_place(faults_of, override, where, words):
    (fault,) = faults_of(override)
    assert fault.where == where
    assert words in str(fault)


@pytest.mark.parametrize(
    ("overrides", "where", "words"),
    [
        (
            ["matryoshka=ends", "matryoshka.weights=[1,2]", "matryoshka.weight_power=1"],
            "matryoshka.weights",
            "one of the two; matryoshka.weight_power=0",
        ),
        (
            ["objective=worst", "objective.dim_weights={64: 1}"],
            "objective.dim_weights",
            "belong to aggregate 'mean'; got {64: 1.0}; accepted: null",
        ),
        (
            ["loss=cached_mnrl", "loss.mini_batch_size=null"],
            "loss.mini_batch_size",
            "only there; accepted: an integer above 0, or auto",
        ),
    ],
)
def test_keys_that_exclude_each_other(faults_of, overrides, where, words):
    (fault,) = faults_of(*overrides)
    assert fault.where == where
    assert words in str(fault)


def test_missing_part_and_missing_key():
    with pytest.raises(InputError) as caught:
        build_config({"data": {"kind": "beir", "path": "x"}})
    missing = {fault.where for fault in caught.value.faults if fault.problem == "is missing"}
    assert {"model", "train", "sweep", "data.split"} <= missing  # not `data.beir.split`


def test_every_fault_at_once(faults_of):
    found = faults_of("train.epochs=abc", "search.trials=0", "objective.metric=x", "matryoshka.dims=[1,2]")
    assert {f.where for f in found} == {"train.epochs", "search.trials", "objective.metric", "matryoshka.dims"}


def test_a_wrong_element_does_not_also_make_the_list_empty(faults_of):
    assert [f.where for f in faults_of("matryoshka.dims=[x]")] == ["matryoshka.dims.0"]


def test_configuration_is_frozen(make_config):
    with pytest.raises(ValueError, match="frozen"):
        make_config().train.epochs = 3


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("bad-name", "a.b", "is wrong"), "a.b: is wrong"),
        (Fault("bad-name", "a.b", "is wrong", 0), "a.b: is wrong; got 0"),
        (Fault("bad-name", "a.b", "is wrong", "", "x, y", "fix it"), "a.b: is wrong; got ''; accepted: x, y; fix it"),
        (Fault("bad-name", "a.b", "is wrong", "x" * 500), f"a.b: is wrong; got '{'x' * 158}…"),
    ],
)
def test_text_of_a_fault(fault, text):
    assert str(fault) == text
