"""The schedule of evaluations: at fractions of the training schedule, or several times in every epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import raises_diagnostics

from embsweep.config.training import EvalConfig
from embsweep.core.errors import InputError

epochs = st.one_of(st.integers(1, 60).map(float), st.floats(0.05, 60, allow_nan=False))


def per_epoch(times):
    return EvalConfig(per_epoch=times, batch_size=8)


@pytest.mark.parametrize(
    ("times", "length", "fractions"),
    [
        (1, 1, [1.0]),
        (1, 4, [0.25, 0.5, 0.75, 1.0]),
        (2, 1, [0.5, 1.0]),
        (1, 2.5, [0.4, 0.8, 1.0]),
        (1, 0.3, [1.0]),
        (4, 0.5, [0.5, 1.0]),
    ],
)
def test_several_evaluations_in_every_epoch(times, length, fractions):
    assert per_epoch(times).schedule(length) == pytest.approx(fractions)


@given(st.integers(1, 8), epochs)
def test_evaluations_are_at_equal_parts_of_an_epoch_and_at_the_end_of_the_schedule(times, length):
    fractions = per_epoch(times).schedule(length)
    assert list(fractions) == sorted(set(fractions))
    assert fractions[0] > 0
    assert fractions[-1] == 1.0
    shares = [fraction * length * times for fraction in fractions[:-1]]
    assert shares == pytest.approx([float(number) for number in range(1, len(fractions))])
    assert 0 < length * times - len(shares) <= 1 + 1e-9


@given(epochs)
def test_fractions_do_not_depend_on_the_epochs(length):
    assert EvalConfig(fractions=[0.1, 0.5, 1.0], batch_size=8).schedule(length) == (0.1, 0.5, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (["eval.per_epoch=1"], "conflict"),
        (["eval.fractions=null"], "conflict"),
        (["eval=epochs", "eval.per_epoch=0"], "out-of-range"),
    ],
)
def test_exactly_one_of_fractions_and_per_epoch_is_required(make_config, overrides, code):
    with raises_diagnostics((code, "eval.per_epoch")):
        make_config(*overrides)


def test_the_published_schedule_is_an_option(make_config):
    assert make_config("eval=epochs").eval.schedule(5) == pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0))


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "true"])
def test_an_invalid_patience(make_config, wrong):
    with pytest.raises(InputError) as caught:
        make_config(f"train.patience={wrong}")
    assert [diagnostic.location for diagnostic in caught.value.diagnostics] == ["train.patience"]


@pytest.mark.parametrize("given_tf32", [True, False, None])
def test_tf32_is_on_off_or_unset(make_config, given_tf32):
    text = {True: "true", False: "false", None: "null"}[given_tf32]
    assert make_config(f"train.tf32={text}").train.tf32 is given_tf32
