"""The source of a registered version: nothing is copied or contacted outside the place that MLflow assigned to it."""

import pytest

from embsweep.tracking.registry.load import fetch_version, find_version
from embsweep.tracking.registry.logged_model import MANIFEST_TAG
from embsweep.tracking.registry.source import find_problem

SERVER = "http://mlflow.example:5000"
PROXIED = f"{SERVER}/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts"


@pytest.mark.parametrize(
    ("source", "root"),
    [
        ("/srv/mlruns/x/models/m-1/artifacts", "/srv/mlruns/x/models/m-1/artifacts"),
        ("/srv/mlruns/x/run/artifacts/model", "/srv/mlruns/x/run/artifacts"),
        ("file:///srv/a%20b%23/artifacts", "file:///srv/a%20b%23/artifacts"),
        ("/srv/mlruns/artifacts", "file:///srv/mlruns/artifacts"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "mlflow-artifacts:/1/models/m-1/artifacts"),
        ("mlflow-artifacts://mlflow.example:5000/1/a", "mlflow-artifacts://mlflow.example:5000/1/a"),
        (PROXIED, PROXIED),
        ("s3://bucket/1/models/m-1/artifacts", "s3://bucket/1/models/m-1/artifacts"),
        ("gs://bucket/1/a/model", "gs://bucket/1/a"),
    ],
)
def test_locations_of_the_own_model_or_run_are_permitted(source, root):
    assert find_problem(source, ("/elsewhere", root), SERVER) is None


@pytest.mark.parametrize(
    "source",
    [
        "/etc", "/srv/mlruns", "/srv/mlruns/artifacts-2", "file:///etc", "file://host/srv/mlruns/artifacts", "relative",
        "../../../../etc", "/srv/mlruns/artifacts/../../../etc", "/srv/mlruns/artifacts/%2e%2e/%2e%2e/x",
        "/srv/mlruns/artifacts/%252e%252e/x", "/srv/mlruns/artifacts/..\\x", "/srv/mlruns/artifacts\0", "",
        "http://127.0.0.1:18999/x", "https://mlflow.example:5000/api/2.0/mlflow-artifacts/artifacts/1",
        f"{SERVER}/x", f"{PROXIED}?x=1", f"{SERVER}0/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts",
        f"{SERVER}/api/2.0/mlflow-artifacts/artifacts/2", "http://[", "http://h:port/",
        "mlflow-artifacts:/2/x", "mlflow-artifacts://evil.example/1/a", "s3://other/1/a", "s3://bucket/1/ab",
        "models:/base/1", "models:/m-1", "runs:/run/x", "ftp://h/x", "sftp://h/x", "data:text/plain,x",
    ],
)  # fmt: skip
def test_other_locations_are_refused(source):
    roots = ("/srv/mlruns/artifacts", PROXIED, "mlflow-artifacts:/1/a", "s3://bucket/1/a", "")
    assert find_problem(source, roots, SERVER) is not None


@pytest.mark.parametrize("root", ["http://127.0.0.1:18999/x", "models:/base/1", "ftp://h/x", "mlflow-artifacts:/1/a"])
def test_a_root_that_the_writer_of_an_experiment_chose_is_not_contacted_either(root):
    assert find_problem(f"{root}/model", (root,), "sqlite:////srv/mlflow.db") is not None


@pytest.mark.slow
@pytest.mark.parametrize("source", ["/etc/ssl", "file:///etc/ssl", "http://127.0.0.1:9/x", "models:/{name}/1"])
def test_nothing_of_a_refused_source_is_copied(store, client, sweep, identity, tmp_path, source):
    name = f"legal-{identity.study_id}"
    client.create_registered_model(name)
    client.create_model_version(name, "/etc/ssl", run_id=sweep.run_id)
    version = client.create_model_version(
        name, source.format(name=name), run_id=sweep.run_id, tags={MANIFEST_TAG: "0" * 64}
    )
    fetched = fetch_version(store, find_version(store, name, version.version), tmp_path / "copy")
    assert fetched.error.code == fetched.evidence_error.code == "unsafe-model"
    assert name in str(fetched.error) and "embsweep sync" in str(fetched.error)
    assert list(tmp_path.iterdir()) == []
