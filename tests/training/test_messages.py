"""Messages are unchanged after a round trip through JSON, and cannot be built from invalid values."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.core.errors import TrialFailed
from embsweep.training.messages import (
    MESSAGE,
    REPORTS,
    Outcome,
    TrialReport,
    TrialResult,
    TrialStarted,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | numbers
fractions = st.floats(0, 1, exclude_min=True)
scores = st.dictionaries(
    st.integers(1, 4096), st.fixed_dictionaries({"map@100": numbers, "mrr@10": numbers}), min_size=1
)
reports = st.builds(
    TrialReport, fractions, st.integers(1), numbers, numbers, numbers, fractions, scores, maybe, maybe, numbers
)
facts = st.just({"device": "cpu", "n": 1})
started = st.builds(
    TrialStarted, st.integers(1), st.text(), numbers, numbers, numbers, facts, st.lists(reports, max_size=2).map(tuple)
)
results = st.builds(
    TrialResult,
    st.sampled_from([Outcome.COMPLETE, Outcome.STOPPED]),
    numbers,
    st.none() | st.text(),
    numbers,
    st.none() | st.text(),
)
failures = st.builds(TrialResult.failed, st.text(), out_of_memory=st.booleans())

GOOD = TrialReport(0.5, 1, 0.5, 0.4, 0.4, 0.5, {64: {"map@100": 0.4}}, 0.1, 1e-5, 1.0)
ROW = {
    "fraction": 0.5, "step": 1, "epoch": 0.5, "objective": 0.4, "best_objective": 0.4, "best_fraction": 0.5,
    "scores": {"64": {"map@100": 0.4}}, "loss": 0.1, "learning_rate": 1e-5, "reported_at": 1.0,
}  # fmt: skip
"""A row as ledgers and resume states have it."""


@given(started | reports | results | failures)
def test_round_trip(message):
    text = MESSAGE.dump_json(message).decode()
    assert "\n" not in text
    assert MESSAGE.validate_json(text) == message


def test_rows_have_the_persisted_form():
    assert json.loads(json.dumps(REPORTS.dump_python((GOOD,), mode="json"))) == [ROW]
    assert REPORTS.validate_python([ROW]) == (GOOD,)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objective": math.nan}, ("objective", "nan", "1")),
        ({"best_objective": math.inf}, ("best_objective", "inf", "1")),
        ({"loss": math.nan}, ("loss", "nan", "1")),
        ({"scores": {64: {"map@100": 0.1}, 32: {}}}, ("map@100", "32")),
        ({"scores": {64: {"map@100": -math.inf}}}, ("map@100", "64", "-inf")),
        ({"scores": {}}, ("scores", "1")),
        ({"fraction": 0.0}, ("0.0,",)),
        ({"fraction": 1.5}, ("1.5,",)),
        ({"step": 0}, ("0;",)),
    ],
)
def test_an_invalid_report_cannot_be_built(changes, named):
    with pytest.raises(TrialFailed) as refused:
        dataclasses.replace(GOOD, **changes)
    assert {*named} <= {*str(refused.value).split()}


@pytest.mark.parametrize("best", [None, math.nan, math.inf])
@pytest.mark.parametrize("outcome", [Outcome.COMPLETE, Outcome.STOPPED])
def test_a_result_without_a_finite_objective_cannot_be_built(best, outcome):
    with pytest.raises(TrialFailed) as refused:
        TrialResult(outcome, best, None, 1.0)
    assert str(best) in str(refused.value).split()
