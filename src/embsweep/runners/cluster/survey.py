"""Asking every living node of a cluster at once, each in a worker process of its own.

A folder under the storage where the driver and every node leave a file for each other, to see that it is one.
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
class ProbeResult:
    """What a node said and what its clock showed; or the `problem` that kept it from answering."""

    facts: node_probe.NodeInfo | None = None
    clock: ClockSample | None = None
    problem: str | None = None


def probe_nodes(
    identities: Iterable[str], *, folder: str | None, health_url: str | None, timeout_s: float
) -> dict[str, ProbeResult]:
    """Node id → answer, of all together within `timeout_s` (and CLOCK_TIMEOUT_S for a node that falls silent then)."""
    cloudpickle.register_pickle_by_value(node_probe)  # type: ignore[no-untyped-call]  # a node may have another, or none
    try:
        look = ray.remote(node_probe.probe)
        asked = {i: look.options(**_on_node(i)).remote(folder, i, health_url) for i in identities}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s)
        answers = {identity: _collect(reference, timeout_s) for identity, reference in asked.items()}
        return {**answers, **_read_clocks({i: answer for i, answer in answers.items() if answer.facts})}
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)  # type: ignore[no-untyped-call]


def _on_node(identity: str) -> dict[str, Any]:
    """A task there and nowhere else, however busy the node is."""
    strategy = NodeAffinitySchedulingStrategy(identity, soft=False)
    return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": strategy}


def _collect(reference: Any, timeout_s: float) -> ProbeResult:
    try:
        return ProbeResult(facts=ray.get(reference, timeout=0))
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return ProbeResult(problem=f"did not answer in {timeout_s:g} s")
    except RayError as error:
        return ProbeResult(problem=f"could not be asked ({_describe(error)})")


def _read_clocks(answers: Mapping[str, ProbeResult]) -> dict[str, ProbeResult]:
    """A second task reads each clock: its process is warm, so that the round trip is short. All nodes side by side."""
    with ThreadPoolExecutor(max(1, len(answers))) as pool:
        return dict(zip(answers, pool.map(_with_clock, answers, answers.values()), strict=True))


def _with_clock(identity: str, answer: ProbeResult) -> ProbeResult:
    ask = ray.remote(node_probe.read_clock).options(**_on_node(identity)).remote
    sent = time.time()
    try:
        there = ray.get(ask(), timeout=CLOCK_TIMEOUT_S)
    except RayError as error:  # a timeout is one, too
        return ProbeResult(problem=f"fell silent ({_describe(error)})")
    return ProbeResult(answer.facts, ClockSample(sent, there, time.time()))


def _describe(error: RayError) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


@dataclass(frozen=True)
class SharedStorageProbe:
    """`folder` holds `nonce` in the driver's file; None, and `fault` says why, where the driver could not make it."""

    folder: Path | None
    nonce: str
    diagnostic: Diagnostic | None = None

    def is_visible_from(self, name: str) -> bool:
        """Whether a node's file arrived here as it should."""
        try:
            return self.folder is not None and (self.folder / name).read_text() == self.nonce
        except OSError:
            return False


@contextmanager
def open_storage_probe(storage: Path) -> Iterator[SharedStorageProbe]:
    """A meeting under `storage`/sweeps. Everything that was made for it is gone afterwards."""
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
