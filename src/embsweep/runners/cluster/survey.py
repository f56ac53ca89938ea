"""Probe every live node of a cluster at once, each in a worker process of its own.

The driver and every node write a file for each other in a folder of the storage, to check that it is the same folder.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from embsweep.core.errors import Diagnostic
from embsweep.runners.cluster import node_probe
from embsweep.runners.cluster.node_checks import ClockSample
from embsweep.runners.cluster.node_probe import NONCE_FILE

CLOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class NodeProbe:
    """Facts and clock of a node, or the `problem` that kept it from answering."""

    facts: node_probe.NodeInfo | None = None
    clock: ClockSample | None = None
    problem: str | None = None


def probe_nodes(
    identities: Iterable[str], *, folder: str | None, health_url: str | None, timeout_s: float
) -> dict[str, NodeProbe]:
    """Return node id → answer, for all within `timeout_s` (plus CLOCK_TIMEOUT_S if a node stops answering then)."""
    cloudpickle.register_pickle_by_value(node_probe)  # type: ignore[no-untyped-call]  # a node may have another version, or none
    try:
        remote_probe = ray.remote(node_probe.probe)
        requests = {i: remote_probe.options(**_on_node(i)).remote(folder, i, health_url) for i in identities}
        ray.wait(list(requests.values()), num_returns=len(requests), timeout=timeout_s)
        answers = {identity: _collect(reference, timeout_s) for identity, reference in requests.items()}
        return {**answers, **_read_clocks({i: answer for i, answer in answers.items() if answer.facts})}
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)  # type: ignore[no-untyped-call]


def _on_node(identity: str) -> dict[str, Any]:
    """Return the options of a task that runs only on that node, however busy it is."""
    strategy = NodeAffinitySchedulingStrategy(identity, soft=False)
    return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": strategy}


def _collect(reference: Any, timeout_s: float) -> NodeProbe:
    try:
        return NodeProbe(facts=ray.get(reference, timeout=0))
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return NodeProbe(problem=f"did not answer in {timeout_s:g} s")
    except RayError as error:
        return NodeProbe(problem=f"could not be probed ({_describe(error)})")


def _read_clocks(answers: Mapping[str, NodeProbe]) -> dict[str, NodeProbe]:
    """Read each clock in a second task, all nodes in parallel: its process is warm, so that the round trip is short."""
    with ThreadPoolExecutor(max(1, len(answers))) as pool:
        return dict(zip(answers, pool.map(_with_clock, answers, answers.values()), strict=True))


def _with_clock(identity: str, answer: NodeProbe) -> NodeProbe:
    ask = ray.remote(node_probe.read_clock).options(**_on_node(identity)).remote
    sent = time.time()
    try:
        there = ray.get(ask(), timeout=CLOCK_TIMEOUT_S)
    except RayError as error:  # a timeout is one, too
        return NodeProbe(problem=f"stopped answering ({_describe(error)})")
    return NodeProbe(answer.facts, ClockSample(sent, there, time.time()))


def _describe(error: RayError) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


@dataclass(frozen=True)
class SharedStorageProbe:
    """`folder` has `nonce` in the driver's file; None, with a `diagnostic`, if the driver could not create it."""

    folder: Path | None
    nonce: str
    diagnostic: Diagnostic | None = None

    def is_visible_from(self, name: str) -> bool:
        """Return whether the file of node `name` has arrived here with the nonce."""
        try:
            return self.folder is not None and (self.folder / name).read_text() == self.nonce
        except OSError:
            return False


@contextmanager
def open_storage_probe(storage: Path) -> Iterator[SharedStorageProbe]:
    """Create a folder for the probe under `storage`/sweeps; everything created is deleted at the end."""
    home = storage / "sweeps"
    new = [path for path in (home, *home.parents) if not path.exists()]
    folder = home / f".probe-{secrets.token_hex(6)}"
    try:
        yield _prepare(folder, storage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in new:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _prepare(folder: Path, storage: Path) -> SharedStorageProbe:
    nonce = secrets.token_hex(16)
    try:
        folder.mkdir(parents=True)
        (folder / NONCE_FILE).write_text(nonce)
    except OSError as error:
        problem = f"the driver cannot write to it ({error.strerror})"
        expected = "a folder that the driver and every node can write to"
        return SharedStorageProbe(
            None, nonce, Diagnostic("not-writable", "storage.path", problem, str(storage), expected)
        )
    return SharedStorageProbe(folder, nonce)
