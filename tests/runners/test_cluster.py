"""Join real clusters of several nodes on this machine, good ones and broken ones."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import InputError
from embsweep.runners.cluster.head import _check_answer
from embsweep.runners.resources import Slots
from tests.doubles import scripted_trial
from tests.refusals import codes_and_locations
from tests.runners.clusters import NodeStart, changed_environment, free_port, started_cluster, utils_cluster

as_root = pytest.mark.skipif(os.getuid() != 0, reason="new namespaces need root")


def inspect_cluster(*args, **kwargs):
    from embsweep.runners.cluster import join as cluster  # importing Ray takes a second

    return cluster.inspect_cluster(*args, **kwargs)


def to(address):
    return RunnerConfig(kind="cluster", address=address)


def refused(config, storage, tracking_uri=None):
    return [str(diagnostic) for diagnostic in find_diagnostics(config, storage, tracking_uri)]


def find_diagnostics(config, storage, tracking_uri=None):
    """Return the diagnostics; check that no connection and no file is left."""
    import ray

    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        inspect_cluster(config, storage=storage, tracking_uri=tracking_uri)
    assert time.monotonic() - begin < 60
    assert not ray.is_initialized()
    assert [path for path in storage.rglob("*") if path.is_file()] == []
    return caught.value.diagnostics


@pytest.fixture
def no_cluster(tmp_path_factory):
    """No cluster and no token, whatever the developer's home folder contains."""
    home = str(tmp_path_factory.mktemp("home"))
    with changed_environment(RAY_ADDRESS=None, RAY_AUTH_TOKEN=None, RAY_AUTH_TOKEN_PATH=None, HOME=home):
        yield


@pytest.fixture
def silent_server():
    """Address of a server that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_missing_address_is_refused(no_cluster, tmp_path):
    assert codes_and_locations(find_diagnostics(to(None), tmp_path)) == [("missing-value", "runner.address")]


@pytest.mark.parametrize("address", ["auto", "local", "http://head:8265", "head", "10.0.0.1:6379/x"])
def test_an_invalid_address_is_refused(no_cluster, tmp_path, address):
    (diagnostic,) = find_diagnostics(to(address), tmp_path)
    assert (diagnostic.code, diagnostic.location, diagnostic.value) == ("bad-address", "runner.address", address)


def test_ray_client_is_refused(no_cluster, tmp_path):
    with changed_environment(RAY_ADDRESS="ray://head:10001"):
        (diagnostic,) = find_diagnostics(to(None), tmp_path)
    assert (diagnostic.code, diagnostic.location, diagnostic.value) == (
        "bad-address",
        "runner.address",
        "ray://head:10001",
    )
    assert "RAY_ADDRESS" in diagnostic.message


def test_an_unreachable_cluster_is_reported_with_every_diagnostic_of_the_driver(no_cluster, tmp_path):
    (tmp_path / "file").touch()
    storage, address = tmp_path / "file", f"127.0.0.1:{free_port()}"
    with pytest.raises(InputError) as caught:
        inspect_cluster(to(address), storage=storage, tracking_uri="http://ann:pw@127.0.0.1:1")
    diagnostics = caught.value.diagnostics
    expected = [("not-writable", "storage.path"), ("unreachable", "tracking.uri"), ("unreachable", "runner.address")]
    assert codes_and_locations(diagnostics) == expected
    assert diagnostics[2].value == address
    assert "pw" not in "".join(map(str, diagnostics))


@pytest.mark.ray
@pytest.mark.nightly
def test_a_server_that_is_no_ray_head_is_refused(no_cluster, silent_server, tmp_path, monkeypatch):
    monkeypatch.setattr("embsweep.runners.cluster.head._ANSWER_TIMEOUT_S", 4)
    (text,) = refused(to(silent_server), tmp_path)
    assert "something answers there, but not as the head of a Ray cluster would" in text


@pytest.fixture(scope="module")
def good():
    """A head and a node at another address of this machine, with a token."""
    with started_cluster(NodeStart(), NodeStart(gpus=2, options=("--node-ip-address=127.0.0.2",))) as started:
        yield started


@pytest.mark.ray
@pytest.mark.nightly
class TestGoodCluster:
    def test_its_nodes_are_returned_and_no_file_is_left(self, good, tmp_path):
        import ray

        with good.driving():
            nodes = inspect_cluster(to(good.address), storage=tmp_path / "shared", tracking_uri="sqlite:///x.db")
            assert ray.is_initialized(), "the runner uses this connection"
            assert sorted((node.cpus, node.gpus) for node in nodes) == [(1, 0), (1, 2)]
            assert {node.address for node in nodes} == {good.address.rpartition(":")[0], "127.0.0.2"}
            assert len({node.name for node in nodes}) == 2
            assert list(tmp_path.iterdir()) == []
            assert ray.get(ray.remote(os.getenv).remote("RAY_AUTH_MODE")) == "token"

    def test_the_address_may_come_from_the_environment(self, good, tmp_path):
        with good.driving(RAY_ADDRESS=good.address):
            assert len(inspect_cluster(to(None), storage=tmp_path, tracking_uri=None)) == 2

    def test_init_options_reach_the_workers(self, good, tmp_path):
        import ray

        options = {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "3"}}}
        with good.driving():
            inspect_cluster(to(good.address), storage=tmp_path, tracking_uri=None, init_options=options)
            assert ray.get(ray.remote(os.getenv).remote("OMP_NUM_THREADS")) == "3"

    @pytest.mark.parametrize(
        ("changes", "location", "expected"),
        [
            ({"RAY_AUTH_TOKEN": "0" * 64}, "the cluster's token", "does not accept it"),
            ({"RAY_AUTH_TOKEN": None}, "the cluster's token", "none was found"),
            ({"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": "token"}, "the cluster's token", "none was found"),
            ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE", "this process may send none; got 'disabled'"),
        ],
    )
    def test_a_driver_without_the_token_is_refused(self, good, tmp_path, changes, location, expected):
        with good.driving(**changes):
            (text,) = refused(to(good.address), tmp_path)
        assert text.startswith(f"{location}: ")
        assert expected in text
        assert good.token not in text

    def test_a_token_file_is_used_and_made_private(self, good, tmp_path):
        path = tmp_path / "token"
        path.write_text(good.token)
        path.chmod(0o644)
        with good.driving(RAY_AUTH_TOKEN=None, RAY_AUTH_TOKEN_PATH=str(path)):
            assert len(inspect_cluster(to(good.address), storage=tmp_path, tracking_uri=None)) == 2
        assert path.stat().st_mode & 0o777 == 0o600

    def test_a_cluster_with_other_versions_is_refused(self, good, tmp_path):
        import ray

        with good.driving(RAY_AUTH_MODE="token"), release_of(good, ray_version="2.50.0"):
            (text,) = refused(to(good.address), tmp_path)
        assert "runs other versions than this process; got 'Ray 2.50.0, Python 3." in text
        assert f"accepted: Ray {ray.__version__}, Python 3." in text

    @as_root
    def test_a_machine_that_is_no_node_cannot_be_the_driver(self, good):
        """In a new process namespace this machine sees no Ray process."""
        probe = [sys.executable, "-m", "embsweep.runners.cluster.head_probe", good.address]
        with good.driving(RAY_AUTH_MODE="token"):
            done = subprocess.run(
                ["unshare", "-p", "-f", "--mount-proc", *probe], capture_output=True, text=True, check=True
            )
        answer = json.loads(done.stdout)
        assert not answer["has_node_here"]
        with pytest.raises(InputError, match="this machine is no node of the cluster"):
            _check_answer(good.address, answer)

    def test_a_hanging_node_is_named(self, good, tmp_path, monkeypatch):
        monkeypatch.setattr("embsweep.runners.cluster.join.NODE_TIMEOUT_S", 4)
        with good.driving(), stopped(find_raylet(good.processes[1])):
            (text,) = refused(to(good.address), tmp_path)
        assert "(127.0.0.2" in text
        assert "did not answer in 4 s" in text

    def test_the_local_runner_joins_no_cluster(self, good, make_scheduler, tmp_path):
        import ray

        from embsweep.runners.ray.runner import RayRunner

        scheduler = make_scheduler(1)
        with good.driving(RAY_ADDRESS=good.address):
            RayRunner(Slots(count=1, cpus=1, gpus=0.0), tmp_path / "scratch").run(scheduler, scripted_trial())
            assert ray.get_runtime_context().gcs_address != good.address
            assert len(ray.nodes()) == 1
        assert len(scheduler.results) == 1


@contextlib.contextmanager
def release_of(cluster, **changes):
    """Change the versions in the metadata of the cluster."""
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._raylet import GcsClient

    client = GcsClient(address=cluster.address)
    before = client.internal_kv_get(CLUSTER_METADATA_KEY, namespace=b"cluster")
    changed = json.dumps({**json.loads(before), **changes}).encode()
    client.internal_kv_put(CLUSTER_METADATA_KEY, changed, overwrite=True, namespace=b"cluster")
    try:
        yield
    finally:
        client.internal_kv_put(CLUSTER_METADATA_KEY, before, overwrite=True, namespace=b"cluster")


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


OTHER_RELEASE = """
import sys, time
if any("default_worker" in word for word in sys.orig_argv):
    now = time.time
    time.time = lambda: now() + 60
"""
NO_PACKAGE = """
import os, sys
sys.path[:] = [entry for entry in sys.path if not os.path.exists(os.path.join(entry, "embsweep", "__init__.py"))]
"""


@pytest.fixture(scope="module")
def broken(good, tmp_path_factory):
    """Diagnostics of the cluster with three additional bad nodes, all reported at once; the nodes are removed again."""
    storage, other, bare = (tmp_path_factory.mktemp(name) for name in ("shared", "other", "bare"))
    (storage / "sweeps").mkdir()
    (other / "embsweep").mkdir()
    (other / "embsweep" / "__init__.py").touch()
    (other / "embsweep-0.0.9.dist-info").mkdir()
    (other / "embsweep-0.0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: embsweep\nVersion: 0.0.9"
    )
    (other / "sitecustomize.py").write_text(OTHER_RELEASE)
    (bare / "sitecustomize.py").write_text(NO_PACKAGE)
    indices = good.add_nodes(
        NodeStart(env={"PYTHONPATH": str(other)}, options=("--node-ip-address=127.0.0.3",)),
        NodeStart(
            env={"PYTHONPATH": str(bare)},
            options=("--node-ip-address=127.0.0.4",),
            prefix=in_mounts(f"mount -t tmpfs none {storage}"),
        ),
        NodeStart(
            options=("--node-ip-address=127.0.0.5",),
            prefix=in_mounts(f"mount --bind {storage} {storage} && mount -o remount,ro,bind {storage}"),
        ),
    )
    try:
        with good.driving():
            return refused(to(good.address), storage, f"http://ann:hunter2@127.0.0.1:{free_port()}")
    finally:
        for index in indices:
            good.end_node(index)


def in_mounts(command):
    """Return a prefix that runs a command with mounts that no other process sees."""
    return ("unshare", "-m", "sh", "-ec", f'{command}; exec "$@"', "sh")


def of_node(texts, address):
    return [text for text in texts if f"({address}" in text]


@as_root
@pytest.mark.ray
@pytest.mark.nightly
class TestBrokenCluster:
    def test_another_version_on_a_node_is_reported(self, broken):
        (text,) = [text for text in of_node(broken, "127.0.0.3") if "has another embsweep" in text]
        assert "got '0.0.9'; accepted: 0.1.0" in text

    def test_a_wrong_clock_is_reported(self, broken):
        (text,) = [text for text in of_node(broken, "127.0.0.3") if "the clock of node" in text]
        assert " s ahead of the driver's" in text
        assert 58 < float(text.partition(") is ")[2].partition(" s ")[0]) < 61

    def test_a_node_without_the_package_is_reported(self, broken):
        assert [text for text in of_node(broken, "127.0.0.4") if "has no embsweep" in text]

    def test_a_folder_that_is_not_shared_is_reported(self, broken):
        (text,) = [text for text in of_node(broken, "127.0.0.4") if text.startswith("storage.path")]
        assert "has no such folder" in text

    def test_a_folder_that_is_not_writable_is_reported(self, broken):
        (text,) = [text for text in of_node(broken, "127.0.0.5") if text.startswith("storage.path")]
        assert "cannot write to it (Read-only file system)" in text

    def test_a_tracking_server_that_no_node_can_reach_is_reported(self, broken):
        texts = [text for text in broken if text.startswith("tracking.uri")]
        assert len(texts) == 6, "the driver and five nodes"
        assert all("refused" in text and "hunter2" not in text for text in texts)

    def test_there_are_no_other_diagnostics(self, broken):
        assert len(broken) == 6 + 2 + 2 + 1


@pytest.mark.ray
@pytest.mark.nightly
def test_an_open_cluster_on_this_machine_is_joined_with_a_warning(tmp_path, caplog):
    with utils_cluster({"num_cpus": 1}, {"num_cpus": 1}) as started, caplog.at_level(logging.WARNING):
        assert len(inspect_cluster(to(started.address), storage=tmp_path, tracking_uri=None)) == 2
    assert "requires no token: RAY_AUTH_MODE=token closes it" in caplog.text


@pytest.fixture
def other_machine():
    """Command prefix that enters a network namespace, whose addresses act as those of another machine."""
    name, here, there = (f"es{os.getpid()}{part}" for part in ("n", "a", "b"))
    enter = ("ip", "netns", "exec", name)
    steps = [
        f"ip netns add {name}",
        f"ip link add {here} type veth peer name {there}",
        f"ip link set {there} netns {name}",
        f"ip addr add 10.231.77.1/30 dev {here}",
        f"ip link set {here} up",
        f"{' '.join(enter)} ip addr add 10.231.77.2/30 dev {there}",
        f"{' '.join(enter)} ip link set {there} up",
        f"{' '.join(enter)} ip link set lo up",
        f"{' '.join(enter)} ip route add default via 10.231.77.1",
    ]
    try:
        for step in steps:
            if subprocess.run(step.split(), capture_output=True, check=False).returncode:
                pytest.skip(f"cannot be done here: {step}")
        yield enter
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@as_root
@pytest.mark.ray
@pytest.mark.nightly
def test_an_open_cluster_across_machines_is_refused(other_machine, tmp_path):
    remote = NodeStart(prefix=other_machine, options=("--node-ip-address=10.231.77.2",))
    with started_cluster(NodeStart(), remote, with_token=False) as started, started.driving():
        (text,) = refused(to(started.address), tmp_path)
    assert text.startswith("runner.address: the cluster requires no token, and ")
    assert "(10.231.77.2" in text
    assert "RAY_AUTH_MODE=token" in text
