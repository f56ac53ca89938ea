"""The tracking server as started in docs/tracking_server.md: requests without an account return no data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from embsweep.core.errors import InputError
from embsweep.tracking.records import SweepIdentity
from embsweep.tracking.store import open_store
from embsweep.tracking.ui import find_port
from tests.mlflow_runs import SampleSweep
from tests.steady_environment import changed

pytest.importorskip("flask_wtf", reason="mlflow[auth] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.nightly]

ROOT = Path(__file__).resolve().parents[2]
ADMIN, ANN, WRONG = ("admin", "only-for-tests-1"), ("ann", "only-for-tests-2"), ("ann", "only-for-tests-3")
API = "/api/2.0/mlflow"


def documented(name):
    page = (ROOT / "docs/tracking_server.md").read_text("utf-8")
    return re.search(rf"^```sh {name}\n(.*?)^```", page, re.M | re.S)[1]


class TeamServer:
    """A running server, and requests to it."""

    def __init__(self, folder):
        self.port = find_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        setup, start = (self._localise(documented(name), folder) for name in ("setup", "start"))
        setup = "\n".join(line for line in setup.splitlines() if not line.startswith("pip install"))
        subprocess.run(["bash", "-ec", setup], check=True)
        secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1], "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests-0"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            ["bash", "-ec", start], cwd=folder, env=os.environ | secrets | {"PATH": path},
            stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip

    def _localise(self, text, folder):
        return text.replace("/srv/mlflow", str(folder / "srv")).replace("5000", str(self.port))

    def wait(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return self.send("/health", ADMIN)
            except OSError:
                time.sleep(0.3)
        self.log.seek(0)
        raise AssertionError(self.log.read())

    def send(self, path, account=None, body=None, host=None):
        """Send a request; return status and text of the response."""
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": "Basic " + b64encode(":".join(account).encode()).decode()} if account else {}
        headers |= {"Host": host} if host else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    server = TeamServer(tmp_path_factory.mktemp("team"))
    try:
        server.wait()
        for name, password in (ANN, ("bob", "only-for-tests-4")):
            status, output = server.send(f"{API}/users/create", ADMIN, {"username": name, "password": password})
            assert status == 200, output
        yield server
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)  # the server and its workers, which have their own session
        server.process.wait(30)


@pytest.fixture(scope="module")
def recorded(team, tmp_path_factory):
    """Record a sweep as Ann: its run and a registered model."""
    with changed(MLFLOW_TRACKING_USERNAME=ANN[0], MLFLOW_TRACKING_PASSWORD=ANN[1]):
        store = open_store(tmp_path_factory.mktemp("storage"), uri=team.url, experiment="anns")
        run = SampleSweep(store, SweepIdentity("legal", "study", "minilm"))
        run_id = run.start_trial(0, {"k": "1"})
        run.client = store.client
        run.client.log_text(run.run_id, "readable by only Ann", "report.txt")
        run.client.create_registered_model("anns-model")
        yield run, run_id


def test_an_account_can_record_a_sweep(recorded):
    run, run_id = recorded
    assert run.client.get_run(run_id).data.params == {"k": "1"}
    assert [file.path for file in run.client.list_artifacts(run.run_id)] == ["report.txt"]


def list_requests(run, experiment):
    search = {"experiment_ids": [experiment], "max_results": 10}
    artifact = f"{experiment}/{run}/artifacts/report.txt"
    return [
        (f"{API}/experiments/search", {"max_results": 10}),
        (f"{API}/experiments/get?experiment_id={experiment}", None),
        (f"{API}/runs/get?run_id={run}", None),
        (f"{API}/runs/search", search),
        (f"{API}/artifacts/list?run_id={run}", None),
        (f"/get-artifact?run_id={run}&path=report.txt", None),
        (f"/api/2.0/mlflow-artifacts/artifacts/{artifact}", None),
        (f"/ajax-api/2.0/mlflow-artifacts/artifacts/{artifact}", None),
        (f"{API}/registered-models/get?name=anns-model", None),
        (f"{API}/registered-models/search?max_results=10", None),
        (f"{API}/users/get?username=ann", None),
        ("/graphql", {"query": "{ __typename }"}),
        ("/", None),
    ]


@pytest.mark.parametrize("account", [None, WRONG, ("", ""), ("admin", ""), ("unknown", "only-for-tests-1")])
def test_without_the_right_password_no_data_is_returned(team, recorded, account):
    run, _ = recorded
    for path, body in list_requests(run.run_id, run.store.experiment_id):
        status, output = team.send(path, account, body)
        assert status in (401, 403), (path, status, output[:200])
        assert "legal" not in output and "Ann" not in output


def test_another_account_receives_no_data_of_the_sweep(team, recorded):
    run, _ = recorded
    for path, body in list_requests(run.run_id, run.store.experiment_id)[:-2]:
        _, output = team.send(path, ("bob", "only-for-tests-4"), body)
        assert "legal" not in output and "only Ann" not in output and "anns" not in output, (path, output[:300])


@pytest.mark.parametrize("host", ["evil.example.com", "192.168.1.1:5000", "10.0.0.1", "localhost.evil.example.com"])
def test_another_host_name_is_refused(team, host):
    status, _ = team.send(f"{API}/experiments/search", ADMIN, {"max_results": 1}, host=host)
    assert status == 403


def test_the_host_name_of_the_proxy_is_accepted(team):
    body = {"max_results": 1}
    assert team.send(f"{API}/experiments/search", ADMIN, body, host="mlflow.example.org")[0] == 200


@pytest.mark.parametrize("password", [None, WRONG[1]])
def test_a_sweep_reports_the_missing_account_without_the_password(team, tmp_path, set_env, password):
    set_env(MLFLOW_TRACKING_USERNAME=password and ANN[0], MLFLOW_TRACKING_PASSWORD=password)
    with pytest.raises(InputError, match=r"tracking\.uri") as caught:
        open_store(tmp_path, uri=team.url, experiment="anns")
    assert "401" in str(caught.value) or "authenticated" in str(caught.value)
    assert WRONG[1] not in str(caught.value)
