import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.refusals import raises_diagnostics

from embsweep.tracking.store import Store, open_store, sqlite_file

pytestmark = pytest.mark.slow
ONE_ATTEMPT_S = 60
"""One attempt takes less on any machine; MLflow's own retries take 100 s."""


def _folder(store):
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(store.client.get_experiment(store.experiment_id).artifact_location))


def test_the_default_is_mlflows_own_default_made_absolute(root, store):
    from mlflow.store.tracking import DEFAULT_TRACKING_URI

    assert sqlite_file(store.uri) == root / DEFAULT_TRACKING_URI.removeprefix("sqlite:///")
    assert sqlite_file(store.uri).is_file()
    assert _folder(store).parent == root / "mlruns"


def test_artifacts_of_a_run_are_found_from_any_folder(empty_cwd, root, sweep, client):
    from mlflow.utils.file_utils import local_file_uri_to_path

    client.log_text(sweep.run_id, "a: 1\n", "configuration.yaml")
    folder = Path(local_file_uri_to_path(client.get_run(sweep.run_id).info.artifact_uri))
    assert folder.is_relative_to(root)
    assert (folder / "configuration.yaml").read_text() == "a: 1\n"
    assert list(empty_cwd.iterdir()) == []


@pytest.mark.nightly
def test_plain_mlflow_in_the_root_finds_the_sweep_and_its_artifacts(root, client, sweep):
    client.log_text(sweep.run_id, "a: 1\n", "configuration.yaml")
    script = (
        "import mlflow, sys; c = mlflow.MlflowClient();"
        "run = c.get_run(sys.argv[1]); print(run.info.run_name);"
        "print(mlflow.artifacts.load_text(run.info.artifact_uri + '/configuration.yaml'))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script, sweep.run_id],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
    )
    assert completed.stdout.split() == ["legal", "a:", "1"]


def test_opening_twice_finds_the_same_experiment(root, store):
    assert open_store(root, uri=None, experiment=store.experiment) == store


def test_a_given_uri_is_used_unchanged(root, store, tmp_path):
    other = open_store(tmp_path, uri=store.uri, experiment="other")
    assert other.uri == store.uri
    assert _folder(other).parent == root / "mlruns"
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("experiment", ["../../escape", "a/b", ".", "ü", "100%"])
def test_artifacts_stay_under_mlruns_whatever_the_experiment_is_called(root, store, experiment):
    opened = open_store(root, uri=None, experiment=experiment)
    assert _folder(opened).resolve().parent == root / "mlruns"


@pytest.mark.nightly
def test_a_new_database_is_created_without_output(tmp_path):
    script = (
        "import sys; from pathlib import Path; from embsweep.tracking.store import open_store;"
        "open_store(Path(sys.argv[1]), uri=None, experiment='x')"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert completed.stdout + completed.stderr == ""
    assert sqlite3.connect(tmp_path / "mlflow.db").execute("select name from experiments").fetchall()[-1] == ("x",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db", "mlruns"]


def test_two_concurrent_first_writers_create_one_database(tmp_path, capfd):
    """With two threads: the file lock excludes them from each other like processes."""
    begin = threading.Barrier(2)

    def write(_):
        begin.wait(60)
        return open_store(tmp_path, uri=None, experiment="x").experiment_id

    with ThreadPoolExecutor(2) as pool:
        opened = set(pool.map(write, range(2)))
    assert len(opened) == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select name from experiments").fetchall()[-1] == ("x",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db", "mlruns"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.nightly
def test_eight_concurrent_first_writers_create_one_database(tmp_path):
    script = (
        "import sys; from pathlib import Path; from embsweep.tracking.store import open_store;"
        "print(open_store(Path(sys.argv[1]), uri=None, experiment='x').experiment_id)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    output = [writer.communicate(timeout=200) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, output
    assert len({out for out, _ in output}) == 1


def _closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "uri", ["http://ann:hunter2@127.0.0.1:{port}", "http://ann:hunter2@no-such-host.invalid:{port}"]
)
def test_an_unreachable_server_is_bad_input_within_seconds(tmp_path, uri):
    start = time.monotonic()
    with raises_diagnostics(("unreachable", "tracking.uri")) as caught:
        open_store(tmp_path, uri=uri.format(port=_closed_port()), experiment="x", is_first=True)
    assert time.monotonic() - start < ONE_ATTEMPT_S
    assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_respond_is_bad_input_too(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with raises_diagnostics(("unreachable", "tracking.uri")):
            open_store(tmp_path, uri=f"http://127.0.0.1:{silent.getsockname()[1]}", experiment="x", is_first=True)
        assert time.monotonic() - start < ONE_ATTEMPT_S


@pytest.mark.parametrize(
    "uri", ["sqlite:////proc/nowhere/mlflow.db", "nonsense", "postgresql://ann:hunter2@127.0.0.1:1/x"]
)
def test_a_database_that_cannot_be_used_is_bad_input_at_once(tmp_path, uri):
    start = time.monotonic()
    with raises_diagnostics(("unreachable", "tracking.uri")) as caught:
        open_store(tmp_path, uri=uri, experiment="x")
    assert time.monotonic() - start < ONE_ATTEMPT_S
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("file:///x/mlruns", "sqlite:////x/mlruns/mlflow.db"),
        ("/x/mlruns", "sqlite:////x/mlruns/mlflow.db"),
        ("localhost:5000", "http://localhost:5000"),
    ],
)
def test_a_folder_and_a_server_without_scheme_are_answered_with_the_uri_that_is_meant(tmp_path, uri, meant):
    with raises_diagnostics(("unreachable", "tracking.uri")) as caught:
        open_store(tmp_path, uri=uri, experiment="x")
    assert meant in caught.value.diagnostics[0].hint


def test_a_deleted_experiment_is_not_written_to(root, store, client):
    gone = open_store(root, uri=None, experiment="gone")
    client.delete_experiment(gone.experiment_id)
    with raises_diagnostics(("deleted-experiment", "tracking.experiment")):
        open_store(root, uri=None, experiment="gone")


def test_a_store_never_shows_its_password():
    store = Store("postgresql://ann:hunter2@db/x", "e", "1")
    assert "hunter2" not in f"{store} {store!r}"


def test_a_connection_does_not_change_the_environment(tmp_path, monkeypatch):
    """`MlflowSync` connects in a thread beside those of Ray; changing the environment is not thread-safe in libc."""
    with monkeypatch.context() as patch:
        for name in ("putenv", "unsetenv"):
            patch.setattr(os, name, lambda *given: pytest.fail(f"changed {given[0]}"))
        store = open_store(tmp_path, uri=None, experiment="mine")
    assert store.client.get_experiment_by_name("mine") is not None


def test_a_new_database_ignores_the_journal_of_a_deleted_one(tmp_path):
    """A process was killed in a transaction, then the database was deleted without its journal."""
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old, isolation_level=None)) as database:
        database.execute("pragma cache_size = 1")
        database.execute("create table rows (value)")
        database.executemany("insert into rows values (?)", [("x" * 3000,)] * 20)
        database.execute("begin")
        database.execute("update rows set value = value || 'y'")
        shutil.copyfile(f"{old}-journal", tmp_path / "mlflow.db-journal")
        database.execute("rollback")
    store = open_store(tmp_path, uri=None, experiment="x")
    assert store.client.get_experiment_by_name("x").experiment_id == store.experiment_id
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
