"""Real Ray clusters of several nodes on this one machine: `ray start` processes, and `ray.cluster_utils.Cluster`.

Both keep their sessions in a short temporary folder of their own (a socket's path has 107 characters at most), use a
HOME of their own, and end every process that they started.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from embsweep.core.environment import replace_value
from tests import steady_environment

OBJECT_STORE_BYTES = 80_000_000
_RAY = Path(sys.executable).with_name("ray")
_START_TIMEOUT_S = 60

QUICK_TO_NOTICE = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "2"}
"""For the environment of nodes: Ray takes 15 s to believe that one is dead, and how long is not what is tested."""


@dataclass(frozen=True)
class NodeStart:
    """How one node is started. `prefix` is a command that runs it, such as `unshare`; `env` is added to its own."""

    cpus: int = 1
    gpus: int = 0
    env: dict = field(default_factory=dict)
    prefix: tuple = ()
    options: tuple = ()


@dataclass
class StartedCluster:
    """`ray start --block` processes, the head first; `token` is None where the cluster asks for none."""

    address: str
    token: str | None
    home: Path
    processes: list = field(default_factory=list)

    def add_nodes(self, *nodes):
        """Start nodes side by side and wait until all are up; the places of their processes."""
        places = range(len(self.processes), len(self.processes) + len(nodes))
        for place, node in zip(places, nodes, strict=True):
            self.processes.append(_start(self, place, node))
        for place in places:
            _wait_until_up(self, place)
        return tuple(places)

    def end_node(self, place):
        """Let a node go in good order."""
        end_tree(self.processes[place])

    def kill_node(self, place):
        """End a node at once, as a machine that lost its power would."""
        end_tree(self.processes[place], is_gentle=False)

    @contextlib.contextmanager
    def driving(self, **changes):
        """The environment of a driver that this cluster lets in; `changes` to it (None: not set)."""
        own = {"HOME": str(self.home), "RAY_AUTH_TOKEN": self.token}
        with changed_environment(**{**own, "RAY_AUTH_TOKEN_PATH": None, "RAY_ADDRESS": None, **changes}):
            try:
                yield
            finally:
                import ray

                ray.shutdown()


@contextlib.contextmanager
def changed_environment(**changes):
    """See `steady_environment.changed`: Python and the nodes see it. Ray's C++ side sees RAY_TOKEN all the time."""
    with steady_environment.changed(**changes):
        try:
            _forget_token()
            yield
        finally:
            _forget_token()


def _forget_token():
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def started_cluster(*nodes, with_token=True):
    """A cluster of `ray start` processes, the first of `nodes` its head."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="es"))
    token = steady_environment.RAY_TOKEN if with_token else None
    cluster = StartedCluster(f"{ray.util.get_node_ip_address()}:{free_port()}", token, folder)
    try:
        cluster.add_nodes(nodes[0])
        cluster.add_nodes(*nodes[1:])
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            end_tree(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(cluster, place, node):
    port = cluster.address.rpartition(":")[2]
    head = ("--head", f"--port={port}", "--include-dashboard=false")
    command = [
        *node.prefix,
        str(_RAY),
        "start",
        "--block",
        "--disable-usage-stats",
        *(head if place == 0 else (f"--address={cluster.address}",)),
        f"--temp-dir={cluster.home / f'r{place}'}",  # one of its own: side by side, nodes would take the same sockets
        f"--num-cpus={node.cpus}",
        f"--num-gpus={node.gpus}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--dashboard-agent-listen-port={free_port()}",
        *node.options,
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "PYTEST_"))}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}
    door = token if cluster.token else {"RAY_AUTH_MODE": "disabled"}
    env = {**kept, "HOME": str(cluster.home), "RAY_USAGE_STATS_ENABLED": "0", **door, **node.env}
    with (cluster.home / f"node{place}.log").open("w") as log:
        return subprocess.Popen(command, env=env, cwd=cluster.home, stdout=log, stderr=subprocess.STDOUT)


def _wait_until_up(cluster, place):
    log, process = cluster.home / f"node{place}.log", cluster.processes[place]
    end = time.monotonic() + _START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"node {place} did not start:\n{log.read_text()}")
        time.sleep(0.1)


def end_tree(process, *, is_gentle=True):
    """End a process and all that it started, by their ids."""
    import psutil  # Ray brings its own and puts it on the path

    try:
        root = psutil.Process(process.pid)
        tree = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        tree = []
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate() if is_gentle else one.kill()
    _, alive = psutil.wait_procs(tree, timeout=5)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(alive, timeout=5)
    process.wait(timeout=10)


def node_of(pid, roots):
    """Which of `roots` (the processes of nodes, by id) this process descends from, by its place; None where none."""
    import psutil

    ancestors = {process.pid for process in psutil.Process(pid).parents()}
    return next((place for place, root in enumerate(roots) if root in ancestors), None)


def free_port():
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def utils_cluster(*nodes):
    """A `ray.cluster_utils.Cluster` of this process, without token: keyword arguments of `add_node` for each node."""
    import ray
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="es"))
    before = os.environ["RAY_AUTH_MODE"]
    replace_value("RAY_AUTH_MODE", "disabled")  # in the driver too: it does not answer nodes that show no token
    with changed_environment(RAY_ADDRESS=None, HOME=str(folder)):
        cluster = Cluster()
        try:
            for place, node in enumerate(nodes):
                own = {"temp_dir": str(folder), "include_dashboard": False} if place == 0 else {}
                cluster.add_node(object_store_memory=OBJECT_STORE_BYTES, **own, **node)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            replace_value("RAY_AUTH_MODE", before)
            shutil.rmtree(folder, ignore_errors=True)
