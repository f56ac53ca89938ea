"""Ask every node of a Ray cluster for its facts: `python -m embsweep.runners.cluster.probe ADDRESS FOLDER`.

It runs in a process of its own: to join a cluster that is none, or that refuses this process, may take a minute, end
the process, or print to the terminal. The functions here are sent to the nodes by value (as is everything in a main
module), to nodes that may lack embsweep: they import nothing but the standard library and Ray.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, TypedDict

PACKAGES = ("embsweep", "ray", "torch", "sentence-transformers", "transformers")
NODE_TIMEOUT_S = 45.0
"""A node with GPUs imports torch to compute on them."""


class Facts(TypedDict):
    """Facts of one machine.

    `versions` are those of Python and PACKAGES, None where not installed. `gpus` is what `python -m embsweep.core.gpus`
    prints there, empty if the node offers no GPUs or the command fails. `folder_error` says why a file could not be
    created in the driver's folder, None if it could.
    """

    versions: dict[str, str | None]
    requires_token: bool
    gpus: str
    folder_error: str | None


class Answer(TypedDict):
    """A living node, its CPUs and GPUs, and its facts or the `problem` that kept it from answering."""

    name: str
    address: str
    cpus: int
    gpus: int
    facts: Facts | None
    problem: str | None


def collect_facts(folder: str, own_file: str, has_gpus: bool = False) -> Facts:
    """Collect the facts of this machine; raises nothing.

    Args:
        folder: A folder that the driver has just created: only a machine with the same storage has it.
        own_file: Name of the file to create in it.
        has_gpus: Whether Ray counts GPUs here.
    """
    folder_error = None
    try:
        (Path(folder) / own_file).touch()
    except OSError as error:
        folder_error = error.strerror
    return Facts(
        versions={"Python": platform.python_version(), **{name: _find_version(name) for name in PACKAGES}},
        requires_token=os.environ.get("RAY_AUTH_MODE") == "token",  # inherited from the node's own process
        gpus=_look_at_gpus() if has_gpus else "",
        folder_error=folder_error,
    )


def _find_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _look_at_gpus() -> str:
    """Compute on the GPUs in a process of its own: CUDA shows none to a task that has not asked Ray for any."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-m", "embsweep.core.gpus"]
    try:
        return subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, timeout=NODE_TIMEOUT_S - 5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):  # without embsweep or torch, which the versions show
        return ""


def ask_nodes(address: str, folder: str) -> list[Answer]:
    """Join the cluster and return the answers of its living nodes, for all within NODE_TIMEOUT_S."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address=address, log_to_driver=False)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    requests = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
        task: Any = ray.remote(**options)(collect_facts)
        requests.append(task.remote(folder, node["NodeID"], _count(node, "GPU") > 0))
    ray.wait(requests, num_returns=len(requests), timeout=NODE_TIMEOUT_S)
    return [_to_answer(node, request) for node, request in zip(nodes, requests, strict=True)]


def _to_answer(node: dict[str, Any], request: Any) -> Answer:
    import ray

    facts, problem = None, None
    try:
        facts = ray.get(request, timeout=0)
    except ray.exceptions.RayError as error:
        problem = f"did not answer in {NODE_TIMEOUT_S:g} s ({type(error).__name__})"
    return Answer(
        name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
        address=node["NodeManagerAddress"],
        cpus=_count(node, "CPU"),
        gpus=_count(node, "GPU"),
        facts=facts,
        problem=problem,
    )


def _count(node: dict[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask_nodes(*sys.argv[1:3])) + "\n")
