"""Inspect and join real clusters of several nodes on this machine, good ones and broken ones."""

import contextlib
import os
import signal
import socket

import pytest

from embsweep.core.errors import InputError
from embsweep.runners.cluster.inspection import inspect_cluster
from embsweep.runners.resources import Machine, Slots
from tests.doubles import scripted_trial
from tests.runners.clusters import NodeStart, started_cluster

pytestmark = [pytest.mark.ray, pytest.mark.nightly]
as_root = pytest.mark.skipif(os.getuid() != 0, reason="new namespaces need root")


@pytest.fixture(scope="module", autouse=True)
def disconnected():
    """Tests of another file may have left this process connected to their Ray."""
    import ray

    ray.shutdown()


def refused(address, storage):
    """Return the diagnostics; check that no connection and no file is left."""
    import ray

    with pytest.raises(InputError) as caught:
        inspect_cluster(address, storage)
    assert not ray.is_initialized()
    assert [path for path in storage.rglob("*") if path.is_file()] == []
    return [str(diagnostic) for diagnostic in caught.value.diagnostics]


def test_a_server_that_is_no_ray_head_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("embsweep.runners.cluster.inspection._ANSWER_TIMEOUT_S", 4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (text,) = refused(f"127.0.0.1:{server.getsockname()[1]}", tmp_path)
    assert "cannot be joined (no answer in 4 s)" in text


@pytest.fixture(scope="module")
def good():
    """A head and a node at another address of this machine, with a token."""
    with started_cluster(NodeStart(), NodeStart(gpus=2, options=("--node-ip-address=127.0.0.2",))) as started:
        yield started


class TestGoodCluster:
    def test_its_machines_are_returned_and_it_is_joined(self, good, tmp_path, caplog):
        import ray

        with good.driving():
            assert sorted(inspect_cluster(good.address, tmp_path / "shared"), key=str) == [
                Machine(1, 0),
                Machine(1, 2),
            ]
            assert not ray.is_initialized()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        with good.joined(tmp_path) as runner:
            assert ray.get_runtime_context().gcs_address == good.address
            assert ray.get(ray.remote(os.getenv).remote("TOKENIZERS_PARALLELISM")) == "false"
            runner.close()
            assert not ray.is_initialized()
        assert "requires no token" not in caplog.text

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"RAY_AUTH_TOKEN": "0" * 64}, "InvalidAuthToken"),
            ({"RAY_AUTH_TOKEN": None}, "no authentication token was found"),
            ({"RAY_AUTH_MODE": "disabled"}, "InvalidAuthToken"),
        ],
    )
    def test_a_driver_without_the_token_is_refused(self, good, tmp_path, changes, expected):
        with good.driving(**changes):
            (text,) = refused(good.address, tmp_path)
        assert text.startswith("runner.address: cannot be joined (")
        assert expected in text
        assert "the token of this process" in text
        assert good.token not in text

    def test_a_hanging_node_is_named(self, good, tmp_path):
        with good.driving(), stopped(find_raylet(good.processes[1])):
            (text,) = refused(good.address, tmp_path)
        assert "(127.0.0.2" in text
        assert "did not answer in" in text

    def test_the_local_runner_joins_no_cluster(self, good, make_scheduler, tmp_path):
        import ray

        from embsweep.runners.ray.runner import RayRunner

        scheduler, runner = make_scheduler(1), RayRunner()
        runner.use(Slots(count=1, cpus=1, gpus=0.0), tmp_path / "scratch")
        with good.driving(RAY_ADDRESS=good.address):
            runner.run(scheduler, scripted_trial())
            assert ray.get_runtime_context().gcs_address != good.address
            assert len(ray.nodes()) == 1
        assert len(scheduler.results) == 1


@as_root
def test_a_machine_that_is_no_node_cannot_be_the_driver(good, tmp_path, monkeypatch):
    """In a new process namespace this machine sees no Ray process."""
    from embsweep.runners.cluster import inspection

    run = inspection.subprocess.run
    namespace = ["unshare", "-p", "-f", "--mount-proc"]
    monkeypatch.setattr(inspection.subprocess, "run", lambda command, **more: run([*namespace, *command], **more))
    with good.driving():
        (text,) = refused(good.address, tmp_path)
    assert "with a node on this machine" in text


def find_raylet(process):
    import psutil

    return next(p for p in psutil.Process(process.pid).children(recursive=True) if p.name() == "raylet").pid


@contextlib.contextmanager
def stopped(pid):
    """Suspend a process."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


NO_PACKAGE = """
import os, sys
sys.path[:] = [entry for entry in sys.path if not os.path.exists(os.path.join(entry, "embsweep", "__init__.py"))]
"""


@as_root
def test_every_problem_of_every_node_is_reported_at_once(good, tmp_path):
    storage, other = tmp_path / "shared", tmp_path / "other"
    (other / "embsweep-0.0.9.dist-info").mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: embsweep\nVersion: 0.0.9"
    (other / "embsweep-0.0.9.dist-info" / "METADATA").write_text(metadata)
    (other / "sitecustomize.py").write_text(NO_PACKAGE)
    storage.mkdir()
    read_only = f"mount --bind {storage} {storage} && mount -o remount,ro,bind {storage}"
    indices = good.add_nodes(
        NodeStart(env={"PYTHONPATH": str(other)}, options=("--node-ip-address=127.0.0.3",)),
        NodeStart(
            options=("--node-ip-address=127.0.0.4",), prefix=in_mounts(f"mount -t tmpfs -o mode=700 none {storage}")
        ),
        NodeStart(options=("--node-ip-address=127.0.0.5",), prefix=in_mounts(read_only)),
    )
    try:
        with good.driving():
            found = sorted(refused(good.address, storage))
    finally:
        for index in indices:
            good.end_node(index)
    version, missing, locked = found
    assert "(127.0.0.3) has another embsweep; got '0.0.9'; accepted: 0.1.0" in version
    assert "(127.0.0.4) does not share it, or cannot write to it (No such file or directory)" in missing
    assert "(127.0.0.5) does not share it, or cannot write to it (Read-only file system)" in locked


def in_mounts(command):
    """Return a prefix that runs a command with mounts that no other process sees."""
    return ("unshare", "-m", "sh", "-ec", f'{command}; exec "$@"', "sh")


def test_an_open_cluster_is_refused_by_a_process_with_a_token(tmp_path):
    with started_cluster(NodeStart(), with_token=False) as started, started.driving(RAY_AUTH_TOKEN="0" * 64):
        (text,) = refused(started.address, tmp_path)
    assert text.startswith("runner.address: the cluster requires no token")
