"""The identity of a sweep: which settings may change when it is resumed under the same name."""

import pytest

from embsweep.config.search_space import FloatRange, describe
from embsweep.core.errors import SweepRefused
from embsweep.sweep.request import flatten
from embsweep.sweep.run_metadata import check_identity, compute_identity
from tests.refusals import raises_code

SPACE = (FloatRange("train.learning_rate", 1e-6, 1e-4, log=True),)


def identity(make_config, *overrides, space=SPACE, data="abc"):
    return compute_identity(make_config(*overrides), space, data)


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=99",
        "runner=inline",
        "runner.max_concurrent=1",
        "tracking.experiment=other",
        "storage.path=/tmp/x",
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
        ("stopping=none", "stopping.kind"),
        ("data.split.seed=1", "data.split.seed"),
    ],
)
def test_another_sweep_is_refused_with_the_key_and_both_values(make_config, override, key):
    with raises_code(SweepRefused, "other-sweep") as caught:
        check_identity("s", identity(make_config), identity(make_config, override))
    assert f"{key}: " in str(caught.value)
    assert "sweep.fresh=true" in str(caught.value)


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
