"""The identity of a sweep: which settings may change when it is resumed under the same name."""

import pytest

from embsweep.config import build_config
from embsweep.config.search_space import FloatRange, describe
from embsweep.core.errors import SweepRefused
from embsweep.core.mappings import flatten
from embsweep.sweep.run_metadata import check_identity, compute_identity
from tests.cli.test_conf import REQUIRED, ROUNDS
from tests.refusals import raises_code

SPACE = (FloatRange("train.learning_rate", 1e-6, 1e-4, log=True),)

MAY_CHANGE = {
    "audit": "near_duplicate_similarity waive",
    "confirm": "alpha finalists folds seeds",
    "data": "slice",
    "gate": "against_base against_champion alpha dims margin",
    "report": "at_end texts",
    "runner": "address cpus_per_trial gpus_per_trial kind max_concurrent trials_per_gpu workers_per_trial",
    "scale": "mode",
    "scale.rehearsal": "fractions max_accumulation max_batch_size max_epochs max_finalists max_folds "
    "max_pairs max_seeds max_seq_length max_trials min_test",
    "scale.rehearsal.model": "dim kind max_seq_length name pooling prompts revision source task",
    "scale.rehearsal.model.published": "max_seq_tokens pooling prompts",
    "search": "trials",
    "stopping": "paused_states",
    "storage": "path shared",
    "sweep": "fresh keep_checkpoints max_attempts max_failed_trials name",
    "tracking": "experiment must_answer registered_model uri",
}
"""Keys that may change when a sweep is resumed. What a rehearsal changes is in the scaled configuration."""

IS_IDENTITY = {
    "data": "anchor corpus delimiter encoding group id kind max_negatives max_pairs min_score negative packages pairs "
    "part path positive revision score subset test_pairs validation_pairs",
    "data.split": "seed test validation",
    "eval": "batch_size dims fractions per_epoch",
    "loss": "mini_batch_size name scale",
    "matryoshka": "dims weight_power weights",
    "model": "dim kind max_seq_length name pooling prompts revision source task",
    "model.published": "max_seq_tokens pooling prompts",
    "model.published.prompts": "document query",
    "objective": "aggregate dim_weights dim_weights.128 floors metric min_retention",
    "search": "recipe_first sampler schedules seed startup_trials",
    "stopping": "kind min_fraction reduction_factor",
    "train": "accumulation attention batch_sampler batch_size deterministic epochs gradient_checkpointing "
    "learning_rate max_grad_norm optimizer patience precision scheduler seed tf32 warmup weight_decay",
}
"""Keys that make another sweep."""


def identity(make_config, *overrides, space=SPACE, data="abc"):
    return compute_identity(make_config(*overrides), space, data)


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=99",
        "stopping.paused_states=0",
        "runner=inline",
        "runner.max_concurrent=1",
        "tracking.experiment=other",
        "data.slice=package",
        "report.texts=false",
        "report.at_end=false",
        "+tracking.tags.team=search",
        "storage.path=/tmp/x",
        "storage.shared=true",
        "sweep.fresh=true",
        "train.learning_rate=1e-3",  # swept: the space is part of the identity instead
    ],
)
def test_the_same_sweep_resumes(make_config, override):
    check_identity("s", identity(make_config), identity(make_config, override))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.batch_size=32", "train.batch_size"),
        ("loss.scale=30.0", "loss.scale"),
        ("eval.dims=[64]", "eval.dims"),
        ("objective=worst", "objective.aggregate"),
        ("search.seed=1", "search.seed"),
        ("search.schedules=9.0", "search.schedules"),
        ("stopping=none", "stopping.kind"),
        ("data.split.seed=1", "data.split.seed"),
    ],
)
def test_another_sweep_is_refused_with_the_key_and_both_values(make_config, override, key):
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), identity(make_config, override))
    assert f"{key}: " in str(caught.value)
    assert "sweep.fresh=true" in str(caught.value)


@pytest.mark.slow
def test_every_key_of_conf_is_either_identity_or_may_change(compose_values):
    """A new key must be added to `MAY_CHANGE` or `IS_IDENTITY`, and to `_FREE` if it may change."""
    keys, found = set(), set()
    for options in ROUNDS:
        chosen = [option for option in options if option is not None]
        required = [line for option in chosen for line in REQUIRED.get(option, []) if "=from_" not in line]
        values = compose_values(*(f"{group}={name}" for group, name in chosen), *required)
        config = build_config(values)
        keys |= {key for source in (values, config.model_dump(mode="json")) for key, _ in flatten(source)}
        found |= compute_identity(config, (), "abc").keys() - {"data fingerprint", "scale.epoch_factor"}
    assert keys - found == listed(MAY_CHANGE)
    assert found == listed(IS_IDENTITY)


def listed(groups):
    return {f"{group}.{key}" for group, keys in groups.items() for key in keys.split()}


def test_another_space_is_refused(make_config):
    wider = (FloatRange("train.learning_rate", 1e-6, 1e-3, log=True),)
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), identity(make_config, space=wider))
    before, now = describe(*SPACE), describe(*wider)
    assert all(named in str(caught.value) for named in ("space train.learning_rate: ", before, now))
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), identity(make_config, space=()))
    assert f"space train.learning_rate: {before}" in str(caught.value)


def test_other_data_is_refused(make_config):
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), identity(make_config, data="xyz"))
    assert all(named in str(caught.value) for named in ("data fingerprint: ", "abc", "xyz"))


def test_flatten():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "d": [1]}


def test_shorter_schedules_of_a_rehearsal_are_another_sweep(make_config):
    half = compute_identity(make_config(), SPACE, "abc", epoch_factor=0.5)
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), half)
    assert all(named in str(caught.value) for named in ("scale.epoch_factor: ", "1.0", "0.5"))
