"""Tags that the user gives to the runs of a sweep."""

import pytest
from pydantic import ValidationError

from embsweep.config.tracking import TrackingConfig


def test_own_tags_are_texts_by_name_and_none_by_default():
    assert TrackingConfig().tags == {}
    tags = {"team": "search", "cost_center.eu-1": "", "ticket": "SE-12, später"}
    assert TrackingConfig(tags=tags).tags == tags


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mlflow.user", "ann"),
        ("embsweep.sweep", "other"),
        ("", "a"),
        ("a,b", "a"),
        ("../a", "a"),
        ("a..b", "a"),
        ("n" * 251, "a"),
        ("team", "v" * 5001),
        ("team", "a\0b"),
        ("team", "\ud800"),
        ("store", "postgresql://ann:hunter2-and-more@db/x"),
        ("password", "hunter2-and-more"),
        ("team", 3),
    ],
)
def test_tags_that_mlflow_or_a_reader_must_not_get_are_refused(name, value):
    with pytest.raises(ValidationError):
        TrackingConfig(tags={name: value})


def test_a_refusal_does_not_show_the_secret(make_config):
    with pytest.raises(Exception, match=r"tracking\.tags") as caught:
        make_config("+tracking.tags.password=hunter2-and-more")
    assert "hunter2" not in str(caught.value)
