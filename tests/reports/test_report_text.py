"""Formats of durations, scores and gains."""

import pytest

from embsweep.reports.text import duration, gain, score


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (75, "1:15"),
        (3599.6, "1:00:00"),
        (4000, "1:06:40"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, ".0000"), (0.45678, ".4568"), (0.99999, "1.0000"), (1.0, "1.0000")]
)
def test_score(value, text):
    assert score(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "+.0123"), (-0.0123, "-.0123"), (0.0, "+.0000"), (-0.00001, "+.0000"), (1.0, "+1.0000"), (-1, "-1.0000")],
)
def test_gain(value, text):
    assert gain(value) == text
