"""Servers that embsweep starts: they listen on the loopback interface only, and other users can do nothing there."""

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import psutil
import pytest

from embsweep.tracking.store import open_store
from embsweep.tracking.ui import ui_command, ui_environment
from embsweep.tracking.ui_guard import READING_POSTS

pytestmark = pytest.mark.slow


def list_listeners(pid):
    """Return (name, address) of every socket on which a process or one of its descendants listens."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [(p.name(), c.laddr.ip) for p in family for c in p.net_connections("inet") if c.status == "LISTEN"]


def is_loopback(address):
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _pid():
    return os.getpid()


@pytest.mark.ray
def test_ray(ray_session):
    """Check the daemons, the workers and this process, which is the driver."""
    import ray

    worker = ray.get(ray.remote(_pid).remote())
    listeners = list_listeners(os.getpid())
    assert {"raylet", "gcs_server"} <= {name for name, _ in listeners}, "the test does not find Ray's servers"
    assert worker in {process.pid for process in psutil.Process().children(recursive=True)}
    assert [(name, address) for name, address in listeners if not is_loopback(address)] == []


@pytest.fixture(scope="module")
def ui(tmp_path_factory, seed_storage):
    """Start `embsweep ui` for a store with a champion; return its process, link and store."""
    root = tmp_path_factory.mktemp("ui")
    seed_storage(root)
    store = open_store(root, uri=None, experiment="x")
    store.client.create_registered_model("legal")
    for _ in range(2):
        store.client.create_model_version("legal", str(root / "mlruns/x/weights"))
    store.client.set_registered_model_alias("legal", "champion", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "embsweep.cli.commands", "ui", "--port", "0", "--storage", str(root)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        link = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())[0]
        yield SimpleNamespace(process=process, link=link, store=store)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def request(url, body=None, method=None, opener=None):
    """Send a request; return status and text of the response."""
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with (opener or urllib.request.build_opener()).open(sent, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def reader(ui):
    """`reader(path, …)` sends a request as the browser of whoever has the link."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    status, page = request(ui.link, opener=opener)
    assert status == 200 and "<!doctype html>" in page
    return lambda path, *arguments: request(ui.link.partition("/?")[0] + path, *arguments, opener=opener)


def test_the_ui_listens_on_the_loopback_interface(ui):
    listeners = list_listeners(ui.process.pid)
    assert listeners
    assert all(is_loopback(address) for _, address in listeners), listeners


def test_the_ui_gives_nothing_to_other_users_of_the_machine(ui):
    url, _, token = ui.link.partition("/?token=")
    for path in ("/", "/api/2.0/mlflow/registered-models/search", "/get-artifact?path=x&run_id=x", "/version"):
        assert request(url + path)[0] == 403, path
    children = psutil.Process(ui.process.pid).children(recursive=True)
    assert token not in " ".join(word for child in children for word in child.cmdline())


def test_the_ui_moves_no_alias_and_stores_no_file(ui, reader):
    champion = {"name": "legal", "alias": "champion", "version": "1"}
    for prefix in ("/api/2.0", "/ajax-api/2.0"):
        for path, body, method in (
            ("/mlflow/registered-models/alias", champion, "POST"),
            ("/mlflow-artifacts/artifacts/planted.txt", "x", "PUT"),
        ):
            status, text = reader(prefix + path, body, method)
            assert status == 403 and "embsweep promote" in text
    assert int(ui.store.client.get_model_version_by_alias("legal", "champion").version) == 2


def test_every_search_that_the_ui_permits_is_one_of_mlflows(ui, reader):
    for path in READING_POSTS:
        assert reader(path, {})[0] not in (403, 404, 405), path
    _, answer = reader("/graphql", {"query": "{__schema{mutationType{fields{name}}}}"})
    fields = {field["name"] for field in json.loads(answer)["data"]["__schema"]["mutationType"]["fields"]}
    assert fields == {"mlflowSearchDatasets", "mlflowSearchRuns", "testMutation"}, "a mutation may change something"


def test_a_password_of_the_store_is_not_on_the_uis_command_line(tmp_path):
    uri = "postgresql://ann:hunter2@db.example.com/mlflow"
    assert "hunter2" not in " ".join(ui_command(5000))
    assert uri in ui_environment(tmp_path, uri, "token", writes=False).values()
