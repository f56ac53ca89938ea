"""Real Ray clusters of several nodes on this machine: `ray start` processes.

They keep their sessions in a short temporary folder of their own (the path of a socket has at most 107 characters), use
a HOME of their own, and every process of them is ended.
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

from embsweep.config.sweep import RunnerConfig
from tests import steady_environment

OBJECT_STORE_BYTES = 80_000_000
_RAY = Path(sys.executable).with_name("ray")
_START_TIMEOUT_S = 180

QUICK_TO_NOTICE = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "2"}
"""Environment of nodes: by default Ray takes 15 s to detect a dead node, and that delay is not what is tested."""


@dataclass(frozen=True)
class NodeStart:
    """Settings of one node. `prefix` is a command that runs it, such as `unshare`; `env` extends its environment."""

    cpus: int = 1
    gpus: int = 0
    env: dict = field(default_factory=dict)
    prefix: tuple = ()
    options: tuple = ()


@dataclass
class StartedCluster:
    """`ray start --block` processes, the head first; `token` is None if the cluster requires none."""

    address: str
    token: str | None
    home: Path
    processes: list = field(default_factory=list)

    def add_nodes(self, *nodes):
        """Start nodes in parallel, wait until all are up, and return the indices of their processes."""
        indices = range(len(self.processes), len(self.processes) + len(nodes))
        for index, node in zip(indices, nodes, strict=True):
            self.processes.append(_start(self, index, node))
        for index in indices:
            _wait_until_up(self, index)
        return tuple(indices)

    def end_node(self, index):
        """Shut a node down gracefully."""
        end_tree(self.processes[index])

    def kill_node(self, index):
        """Kill a node, as a power failure of its machine would."""
        end_tree(self.processes[index], is_gentle=False)

    @contextlib.contextmanager
    def driving(self, **changes):
        """Set the environment of a driver that this cluster accepts, with `changes` to it (None: unset).

        The changes reach Python and processes that it starts. Ray in this process always uses RAY_TOKEN.
        """
        own = {"HOME": str(self.home), "RAY_AUTH_TOKEN": self.token, "RAY_AUTH_TOKEN_PATH": None, "RAY_ADDRESS": None}
        with steady_environment.changed(**{**own, **changes}):
            try:
                yield
            finally:
                import ray

                ray.shutdown()

    @contextlib.contextmanager
    def joined(self, storage):
        """Yield a `ClusterRunner` that has inspected and joined this cluster."""
        from embsweep.runners.cluster.runner import ClusterRunner

        with self.driving():
            runner = ClusterRunner(RunnerConfig(kind="cluster", address=self.address), storage)
            runner.machines()
            runner.connect()
            yield runner


@contextlib.contextmanager
def started_cluster(*nodes, with_token=True):
    """Start a cluster of `ray start` processes; the first of `nodes` is its head."""
    folder = Path(tempfile.mkdtemp(prefix="es"))
    token = steady_environment.RAY_TOKEN if with_token else None
    cluster = StartedCluster(f"{own_address()}:{free_port()}", token, folder)
    try:
        cluster.add_nodes(nodes[0])
        cluster.add_nodes(*nodes[1:])
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            end_tree(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(cluster, index, node):
    port = cluster.address.rpartition(":")[2]
    head = ("--head", f"--port={port}", "--include-dashboard=false")
    command = [
        *node.prefix,
        str(_RAY),
        "start",
        "--block",
        "--disable-usage-stats",
        *(head if index == 0 else (f"--address={cluster.address}",)),
        f"--temp-dir={cluster.home / f'r{index}'}",  # its own: nodes started in parallel would use the same sockets
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
    auth = token if cluster.token else {"RAY_AUTH_MODE": "disabled"}
    env = {**kept, "HOME": str(cluster.home), "RAY_USAGE_STATS_ENABLED": "0", **auth, **node.env}
    with (cluster.home / f"node{index}.log").open("w") as log:
        return subprocess.Popen(command, env=env, cwd=cluster.home, stdout=log, stderr=subprocess.STDOUT)


def _wait_until_up(cluster, index):
    log, process = cluster.home / f"node{index}.log", cluster.processes[index]
    end = time.monotonic() + _START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"node {index} did not start:\n{log.read_text()}")
        time.sleep(0.1)


def end_tree(process, *, is_gentle=True):
    """End a process and all processes that it started, by their ids."""
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
    """Return the index of that one of `roots` (process ids of nodes) from which this process descends, or None."""
    import psutil

    ancestors = {process.pid for process in psutil.Process(pid).parents()}
    return next((index for index, root in enumerate(roots) if root in ancestors), None)


def free_port():
    """Return a TCP port that is free at this time."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def own_address():
    """Return the address of this machine in its network; nothing is sent there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
