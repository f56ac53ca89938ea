"""Where a sweep's records go: configuration, environment, and the store of an earlier start."""

from pathlib import Path

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config.tracking import TrackingConfig
from embsweep.tracking.location import choose_location

ROOT = Path("/storage")
TEAM = "http://mlflow.example.org:5000"
SECRET = "postgresql://ann:hunter2@db/x"
LOCAL = {"uri": None, "experiment": "embsweep"}


def choose(recorded=None, *, uri=None, experiment=None, **environ):
    return choose_location(TrackingConfig(uri=uri, experiment=experiment), ROOT, recorded, environ)


@pytest.mark.parametrize(
    ("uri", "variable", "recorded", "chosen", "source"),
    [
        (None, None, None, None, "default"),
        (None, "", None, None, "default"),
        (None, TEAM, None, TEAM, "from MLFLOW_TRACKING_URI"),
        ("http://own", TEAM, None, "http://own", "from tracking.uri"),
        (None, TEAM, TEAM, TEAM, "from MLFLOW_TRACKING_URI"),
        (None, None, TEAM, TEAM, "from the sweep's earlier start"),
        (None, "http://other", TEAM, TEAM, "from the sweep's earlier start"),
        ("http://own", TEAM, TEAM, "http://own", "from tracking.uri"),
        (None, SECRET, "postgresql://***@db/x", SECRET, "from MLFLOW_TRACKING_URI"),
    ],
)
def test_configuration_then_the_earlier_start_then_the_environment(uri, variable, recorded, chosen, source):
    environ = {} if variable is None else {"MLFLOW_TRACKING_URI": variable}
    location = choose(None if recorded is None else {**LOCAL, "uri": recorded}, uri=uri, **environ)
    assert location.tracking.uri == chosen
    assert location.lines[0].split(", experiment")[0].endswith(f"({source})")
    assert "hunter2" not in "".join(location.lines)


def test_a_sweep_that_began_in_the_local_store_stays_there():
    location = choose(LOCAL, MLFLOW_TRACKING_URI=TEAM)
    assert location.tracking.uri is None
    assert any(TEAM in line and "tracking.uri=" in line for line in location.lines[1:])


def test_a_password_that_is_not_given_again_is_asked_for():
    with raises_diagnostics(("missing-value", "tracking.uri")):
        choose({**LOCAL, "uri": "postgresql://***@db/x"})


def test_moving_a_sweep_is_said():
    assert any("all are written to the new store" in line for line in choose(LOCAL, uri=TEAM).lines)
    assert len(choose({**LOCAL, "uri": TEAM}, uri=TEAM).lines) == 1


def test_a_relative_database_does_not_follow_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for chosen in (choose(uri="sqlite:///a.db"), choose(MLFLOW_TRACKING_URI="sqlite:///a.db")):
        assert chosen.tracking.uri == f"sqlite:///{tmp_path}/a.db"


@pytest.mark.parametrize(
    ("experiment", "variable", "recorded", "chosen"),
    [
        (None, None, None, "embsweep"),
        (None, "team", None, "team"),
        ("own", "team", "old", "own"),
        (None, "team", "old", "old"),
        (None, None, "old", "old"),
    ],
)
def test_the_experiment_is_chosen_in_the_same_order(experiment, variable, recorded, chosen):
    environ = {} if variable is None else {"MLFLOW_EXPERIMENT_NAME": variable}
    location = choose(recorded and {**LOCAL, "experiment": recorded}, experiment=experiment, **environ)
    assert location.tracking.experiment == chosen
    assert f"experiment {chosen}" in location.lines[0]


def test_an_experiment_of_the_environment_must_have_a_valid_name():
    with raises_diagnostics(("bad-name", "MLFLOW_EXPERIMENT_NAME")):
        choose(MLFLOW_EXPERIMENT_NAME="a\nb")


def test_variables_that_are_not_used_are_named():
    lines = choose(MLFLOW_RUN_ID="1", MLFLOW_EXPERIMENT_ID="2", MLFLOW_TRACKING_TOKEN="S3CRET").lines
    assert [name for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID") if any(name in line for line in lines)]
    assert len(lines) == 3
    assert "S3CRET" not in "".join(lines)
