"""Rehearsals: the same search space with capped model, data and budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.config import check_trainable
from embsweep.config.rehearsal import Rehearsal, plan_rehearsal, scale_dims
from embsweep.core.mappings import flatten
from embsweep.sweep.rehearsal_notice import describe_changes, describe_headline


@pytest.mark.parametrize(
    ("mode", "has_gpu", "rehearses"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("full", False, False),
        ("full", True, False),
        ("rehearsal", True, True),
    ],
)
def test_plan_rehearsal_follows_mode_and_hardware(make_config, mode, has_gpu, rehearses):
    caps = make_config().scale.rehearsal
    assert plan_rehearsal(mode, has_gpu=has_gpu, longest_epochs=4, caps=caps).is_rehearsal is rehearses


def test_full_scale_changes_nothing(make_config):
    config = make_config()
    assert Rehearsal(is_rehearsal=False).apply(config) is config


def test_a_rehearsal_caps_everything_and_marks_its_names(make_config):
    requested = make_config("+sweep=bgem3", "data.max_pairs=20000", "search.trials=100")
    caps = requested.scale.rehearsal
    config = plan_rehearsal("rehearsal", has_gpu=True, longest_epochs=5, caps=caps).apply(requested)
    assert config.model.kind == "minilm_3_layers"
    assert config.model.max_seq_length == caps.max_seq_length
    assert config.data.max_pairs == caps.max_pairs
    assert config.search.trials == caps.max_trials
    assert config.train.epochs == pytest.approx(requested.train.epochs * caps.max_epochs / 5)
    assert config.sweep.name == config.tracking.registered_model == "bgem3-rehearsal"
    assert config.trial.eval_dims == (384, 288, 192, 96, 48, 24)
    assert config.matryoshka.dims == (384, 288, 192, 96, 48, 24)
    assert check_trainable(config) == []


def test_the_gate_of_a_rehearsal_is_that_of_the_full_sweep(make_config):
    requested = make_config("+sweep=bgem3", "gate.margin=0.01", "gate.alpha=0.01", "gate.dims=[1024,64]")
    gate = Rehearsal(is_rehearsal=True).apply(requested).gate
    assert gate == requested.gate.model_copy(update={"dims": (384, 24)})
    assert gate.against_base == "significant"


@pytest.mark.parametrize(
    ("validation", "test", "expected"),
    [
        (0.1, 0.1, 0.4),
        (0.1, 0.5, 0.5),
        (0.4, 0.1, 0.3),  # half of what validation leaves: something must remain to train on
        (0.1, 0.89, 0.89),
    ],
)
def test_a_rehearsal_has_a_larger_test_split(make_config, validation, test, expected):
    requested = make_config("+sweep=bgem3", f"data.split.validation={validation}", f"data.split.test={test}")
    split = Rehearsal(is_rehearsal=True).apply(requested).data.split
    assert (split.validation, split.test) == (validation, pytest.approx(expected))
    assert split.validation + split.test < 1
    assert split.seed == requested.data.split.seed


NOTICE = ("+sweep=bgem3", "search.trials=100", "train.precision=fp16", "train.batch_size=64", "gate.dims=[1024]")


def test_the_notice_names_every_change(make_config):
    """No setting differs from the full sweep's without being named; a rule of every trial names its settings too."""
    requested = make_config(*NOTICE)
    scale = plan_rehearsal("rehearsal", has_gpu=True, longest_epochs=5, caps=requested.scale.rehearsal)
    recipe = scale.apply(requested)
    notice = " ".join([describe_headline(requested, recipe, scale), *describe_changes(requested, recipe, scale)])
    before, after = (dict(flatten(config.model_dump(mode="json"))) for config in (requested, recipe))
    changed = {key for key in before if before[key] != after.get(key) and not key.startswith("model.published.")}
    by_rule = {"sweep.name", "tracking.registered_model", "model.name", "model.kind", "model.source", "model.dim"} | {
        "eval.dims", "matryoshka.dims", "gate.dims",
    }  # fmt: skip
    assert {key for key in changed - by_rule if key not in notice} == set()
    assert all(words in notice for words in ("'bgem3'", "minilm-3-layers", "bge-m3", "dimensions × 384/1024"))
    assert "data.max_pairs=1500 (null)" in notice
    assert "train.epochs × 0.2" in notice


def test_there_is_no_notice_at_full_scale(make_config):
    config = make_config("+sweep=bgem3")
    assert list(describe_changes(config, config, Rehearsal(is_rehearsal=False))) == []


@pytest.mark.slow
def test_a_rehearsal_takes_enough_steps_in_the_precision_of_the_machine(make_config):
    requested = make_config("train=accumulated", "train.batch_size=64", "train.precision=fp16")
    train = Rehearsal(is_rehearsal=True).apply(requested).train
    assert (train.batch_size, train.accumulation, train.precision) == (32, 1, "auto")
    assert Rehearsal(is_rehearsal=True).apply(make_config("train.batch_size=8")).train.batch_size == 8


def test_values_below_the_caps_are_kept(make_config):
    requested = make_config("+sweep=bgem3", "data.max_pairs=50", "search.trials=2")
    config = plan_rehearsal("rehearsal", has_gpu=False, longest_epochs=0.5, caps=requested.scale.rehearsal).apply(
        requested
    )
    assert (config.data.max_pairs, config.search.trials) == (50, 2)
    assert config.train.epochs == requested.train.epochs


@pytest.mark.slow
def test_matryoshka_presets_stay_distinct(make_config):
    presets = ["halving", "from_768", "coarse", "ends"]
    scale = Rehearsal(is_rehearsal=True)
    assert len({scale.apply(make_config(f"matryoshka={name}")).matryoshka.dims for name in presets}) == len(presets)


def test_dimension_weights_are_scaled_with_their_dimensions(make_config):
    requested = make_config(
        "objective.dim_weights={1024: 2.0, 64: 1.0}", "matryoshka.weights=[6.0,5.0,4.0,3.0,2.0,1.0]"
    )
    config = Rehearsal(is_rehearsal=True).apply(requested)
    assert config.objective.dim_weights == {384: 2.0, 24: 1.0}
    assert config.matryoshka.weights == (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
    assert check_trainable(config) == []


def test_a_model_that_is_not_from_a_hub_is_not_replaced(make_config):
    requested = make_config("model=static", "matryoshka=from_384")
    assert Rehearsal(is_rehearsal=True).apply(requested).model.kind == "static"


def test_a_rehearsal_keeps_the_prompts_of_the_configuration(make_config):
    given = Rehearsal(is_rehearsal=True).apply(make_config("model.prompts={query: 'q: '}")).model
    assert (given.kind, given.prompts.query) == ("minilm_3_layers", "q: ")
    assert Rehearsal(is_rehearsal=True).apply(make_config("model=multilingual-e5-large")).model.prompts == "auto"


@given(st.sets(st.integers(1, 4096), min_size=1, max_size=8), st.integers(1, 1024))
def test_scaled_dims_descend_and_fit(dims, small):
    large = max(dims)
    scaled = scale_dims(sorted(dims, reverse=True), large=large, small=min(small, large))
    assert list(scaled) == sorted(set(scaled), reverse=True)
    assert scaled[0] == min(small, large)
    assert scaled[-1] >= 1
