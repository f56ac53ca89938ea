import json
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.core.names import METRICS
from embsweep.core.redaction import redact
from embsweep.tracking.values import batches, flatten_params, report_metrics, score_metrics, to_name


class Kind(StrEnum):
    A = "a"


@pytest.mark.parametrize(
    ("params", "flat"),
    [
        ({"train": {"learning_rate": 2e-5}}, {"train.learning_rate": "2e-05"}),
        ({"matryoshka": {"dims": [384, 128]}}, {"matryoshka.dims": "384, 128"}),
        ({"matryoshka": "halving"}, {"matryoshka": "halving"}),
        ({"a": None, "b": True, "c": Kind.A}, {"a": "null", "b": "true", "c": "a"}),
        ({"objective": {"dim_weights": {256: 1.0}}}, {"objective.dim_weights.256": "1.0"}),
        ({"a": [], "b": [{"c": 1}]}, {"a": "[]", "b": '[{"c": 1}]'}),
        ({"empty": {}}, {"empty": "{}"}),
        ({"train.epochs": 3}, {"train.epochs": "3"}),
        ({"odd@key": "x"}, {"odd_key": "x"}),
        ({"tracking": {"uri": "http://ann:hunter2@host/x"}}, {"tracking.uri": "http://***@host/x"}),
    ],
)
def test_nested_values_become_strings_with_dotted_keys(params, flat):
    assert flatten_params(params) == flat


def test_a_value_that_is_too_long_is_cut_and_marked():
    (value,) = flatten_params({"long": "x" * 7000}).values()
    assert len(value) == 6000
    assert value.endswith("… (7000 characters)")


@given(st.text(min_size=1, max_size=300))
def test_every_name_is_converted_to_mlflows_alphabet(text):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    name = to_name(text)
    _validate_param_name(name)
    _validate_metric_name(name)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=6000), max_size=250))
def test_batches_hold_everything_once_within_the_limits(params):
    found = list(batches(params))
    assert [item for batch in found for item in batch.items()] == list(params.items())
    assert all(len(batch) <= 100 for batch in found)


def test_batches_are_bounded_in_bytes():
    found = list(batches({f"k{n}": "é" * 6000 for n in range(100)}))
    assert max(len(json.dumps(batch)) for batch in found) < 600_000


def test_every_metric_at_every_dimension_in_mlflows_alphabet(make_scores):
    metrics = score_metrics(make_scores(), "best")
    assert len(metrics) == 4 * len(METRICS)
    assert metrics["best/dim_256/map_at_100"] == pytest.approx(0.1256)
    assert all(to_name(name) == name for name in metrics)


def test_a_report_without_loss_has_no_loss_metric(make_report):
    assert "loss" not in report_metrics(make_report(loss=None))
    assert report_metrics(make_report())["learning_rate"] == 2e-5


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql+psycopg2://ann:p%40ss@db:5432/x?sslmode=require", "postgresql+psycopg2://***@db:5432/x?sslmode=require"),
        ("uri: https://token@host/path", "uri: https://***@host/path"),
        ("https://host/a@b", "https://host/a@b"),
        ("password=abc rest", "password=*** rest"),
        ('{"api_key": "abc", "x": 1}', '{"api_key": ***, "x": 1}'),
        ("HF token hf_" + "a" * 30, "HF token ***"),
        ("max_tokens: 128", "max_tokens: 128"),
        ("train.learning_rate: 2e-5", "train.learning_rate: 2e-5"),
    ],
)  # fmt: skip
def test_secrets_are_masked_and_nothing_else(text, redacted):
    assert redact(text) == redacted
