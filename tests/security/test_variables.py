"""Environment variables in a configuration reach paths only, and no name contains a secret."""

import pytest

from embsweep.cli.composition.compose import compose, to_values
from embsweep.cli.composition.credentials import check_credentials
from embsweep.config import build_config
from embsweep.core.errors import InputError
from tests.refusals import codes_and_locations, raises_diagnostics

pytestmark = pytest.mark.slow

SECRET = "hunter2hunter2"


@pytest.fixture
def resolve(loader, set_env):
    set_env(MY_PASSWORD=SECRET, SCRATCH="/scratch", MLFLOW_TRACKING_URI="http://127.0.0.1:5000")
    return lambda *lines: to_values(compose(loader, lines))


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        (["tracking.uri='http://127.0.0.1:18999/${oc.env:MY_PASSWORD}'"], ["tracking.uri"]),
        (["tracking.experiment='exp-${oc.env:MY_PASSWORD}'"], ["tracking.experiment"]),
        (["tracking.experiment='${storage.path}'", "storage.path='${oc.env:SCRATCH}'"], ["tracking.experiment"]),
        (["tracking.experiment='${oc.decode:${oc.env:SCRATCH}}'"], ["tracking.experiment"]),
        (["tracking.experiment='${oc.${model.name}:SCRATCH}'", "model.name=env"], ["tracking.experiment"]),
        (["model.source='${oc.env:MY_PASSWORD}'"], ["model.source"]),
        (["model.source='team/${oc.env:MY_PASSWORD}'"], ["model.source"]),
        (["data=files", "data.pairs='/data/[d${oc.env:SCRATCH}].jsonl'"], ["data.pairs"]),
        (["data=files", "data.pairs='/data/${oc.env:SCRATCH}/../d.jsonl'"], ["data.pairs"]),
        (["storage.path='/data/${oc.env:MY_PASSWORD}'"], ["storage.path"]),
        (["runner.address='${oc.env:SCRATCH}:6379'"], ["runner.address"]),
        (["++data.packages=['${oc.env:SCRATCH,x}']"], ["data.packages"]),
        (["+hydra.sweeper.params={model.source: 'choice(${oc.env:SCRATCH})'}"], ["hydra.sweeper.params.model.source"]),
    ],
)
def test_a_variable_is_refused_by_the_key_that_it_reaches(resolve, lines, keys):
    with pytest.raises(InputError) as caught:
        resolve(*lines)
    assert codes_and_locations(caught.value.diagnostics) == [("not-settable", key) for key in keys]
    assert SECRET not in str(caught.value)


def test_paths_may_contain_a_variable(resolve):
    values = resolve(
        "storage.path='${oc.env:SCRATCH}/sweeps'",
        "model.source='${oc.env:SCRATCH}/model'",
        "data=files",
        "data.pairs=['${oc.env:SCRATCH}/a.jsonl']",
        "tracking.uri='${oc.env:MLFLOW_TRACKING_URI}'",
    )
    assert values["storage"]["path"] == "/scratch/sweeps"
    assert values["model"]["source"] == "/scratch/model"
    assert values["data"]["pairs"] == ["/scratch/a.jsonl"]
    assert values["tracking"]["uri"] == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("given", "environ", "is_refused"),
    [
        ((), {"MLFLOW_TRACKING_TOKEN": SECRET}, True),
        (("sweep",), {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": SECRET}, True),
        (("tracking.uri",), {"MLFLOW_TRACKING_TOKEN": SECRET}, False),
        ((), {"MLFLOW_TRACKING_TOKEN": SECRET, "MLFLOW_TRACKING_URI": "http://127.0.0.1:18997"}, False),
        ((), {}, False),
    ],
)
def test_credentials_go_only_to_a_server_that_the_user_named(set_env, tmp_path, given, environ, is_refused):
    set_env(HOME=str(tmp_path))
    found = check_credentials({"tracking": {"uri": "http://127.0.0.1:18997"}}, given, environ)
    assert codes_and_locations(found) == [("not-settable", "tracking.uri")] * is_refused
    assert not check_credentials({"tracking": {"uri": "sqlite:///x.db"}}, given, environ)


@pytest.mark.parametrize("key", ["sweep.name", "tracking.experiment", "tracking.registered_model", "model.name"])
def test_a_name_that_contains_a_secret_is_refused(resolve, key):
    with raises_diagnostics(("bad-name", key)):
        build_config(resolve(f"{key}=x-{SECRET}"))
