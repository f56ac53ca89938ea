"""Join a running Ray cluster, and check it from the driver and from every node."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from embsweep.config.sweep import RunnerConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.runners.cluster.auth import enable_token_auth, restrict_token_permissions
from embsweep.runners.cluster.head import Head, probe_head
from embsweep.runners.cluster.node_checks import (
    Node,
    check_authentication,
    check_clock,
    check_shared_storage,
    check_tracking,
    check_versions,
    describe_mixed_gpus,
    find_health_url,
    name_nodes,
    usable_gpus,
)
from embsweep.runners.cluster.node_probe import NodeInfo, probe
from embsweep.runners.cluster.survey import NodeProbe, SharedStorageProbe, open_storage_probe, probe_nodes
from embsweep.runners.ray.workarounds import log_daemon_messages, preserve_sigterm_handler

log = logging.getLogger(__name__)

NODE_TIMEOUT_S = 25.0


@dataclass(frozen=True)
class _DriverView:
    """Facts of the driver that a node's answer is compared with."""

    facts: NodeInfo
    storage_probe: SharedStorageProbe
    storage: Path
    tracking_uri: str | None


def inspect_cluster(
    config: RunnerConfig, *, storage: Path, tracking_uri: str | None, init_options: Mapping[str, Any] | None = None
) -> tuple[Node, ...]:
    """Join the cluster that the configuration names, and check it from the driver and from a worker on every node.

    Ray stays initialised; `init_options` (a runtime_env, say) go to `ray.init`. Nodes that join later are not seen.

    Raises:
        InputError: If any check fails, within a minute; it has a diagnostic for every problem, with the node's name.
            This process has then left the cluster.
    """
    restrict_token_permissions()
    try:
        with open_storage_probe(storage) as storage_probe:
            facts = probe(_storage_seen_by_nodes(storage_probe), "as-driver", find_health_url(tracking_uri))
            view = _DriverView(facts, storage_probe, storage, tracking_uri)
            nodes = _inspect(view, config, init_options or {})
    except BaseException:
        ray.shutdown()
        raise
    if mixed := describe_mixed_gpus(nodes):
        log.warning("%s", mixed)
    return nodes


def leave_cluster() -> None:
    """Disconnect; nothing was started there."""
    ray.shutdown()


def _inspect(view: _DriverView, config: RunnerConfig, init_options: Mapping[str, Any]) -> tuple[Node, ...]:
    diagnostics = [view.storage_probe.diagnostic] if view.storage_probe.diagnostic else []
    diagnostics += check_tracking("the driver", view.facts, view.tracking_uri)
    try:
        head = _join(config, init_options)
    except InputError as error:
        raise InputError([*diagnostics, *error.diagnostics]) from error
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    living = {entry["NodeID"]: entry for entry in entries if entry["Alive"]}
    names = name_nodes({i: (entry["NodeManagerHostname"], _address(entry)) for i, entry in living.items()})
    answers = probe_nodes(
        living,
        folder=_storage_seen_by_nodes(view.storage_probe),
        health_url=find_health_url(view.tracking_uri),
        timeout_s=NODE_TIMEOUT_S,
    )
    for identity, answer in answers.items():
        diagnostics += _check_answer(answer, view, identity=identity, name=names[identity])
    diagnostics += _check_authentication(head, {names[i]: _address(entry) for i, entry in living.items()})
    if diagnostics:
        raise InputError(diagnostics)
    return tuple(_build_node(names[i], living[i], answers[i]) for i in living)


def _join(config: RunnerConfig, init_options: Mapping[str, Any]) -> Head:
    head = probe_head(config)
    if ray.is_initialized() and ray.get_runtime_context().gcs_address == head.address:
        return head
    ray.shutdown()  # disconnect from another cluster, of an earlier sweep in this process
    enable_token_auth(head.requires_token)
    logging.getLogger("ray").propagate = True
    log_daemon_messages()
    try:
        with preserve_sigterm_handler():
            ray.init(address=head.address, log_to_driver=False, configure_logging=False, **init_options)
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, or its own classes
        problem = f"the cluster answers and cannot be joined ({' '.join(str(error).split())})"
        raise InputError(Diagnostic("unreachable", "runner.address", problem, head.address)) from error
    return head


def _check_answer(answer: NodeProbe, view: _DriverView, *, identity: str, name: str) -> Iterator[Diagnostic]:
    if answer.facts is None or answer.clock is None:
        yield Diagnostic("unreachable", "runner.address", f"node {name} {answer.problem}")
        return
    yield from check_versions(name, answer.facts, view.facts)
    has_arrived = view.storage_probe.is_visible_from(identity)
    yield from check_shared_storage(name, answer.facts, storage=str(view.storage), has_arrived=has_arrived)
    yield from check_tracking(f"node {name}", answer.facts, view.tracking_uri)
    yield from check_clock(name, answer.clock)


def _check_authentication(head: Head, addresses: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Refuse a cluster without token if it spans machines; log a warning if it is this machine alone."""
    remote = [name for name, address in addresses.items() if not _is_local_address(address)]
    yield from check_authentication(head.requires_token, remote)
    if not head.requires_token and not remote:
        log.warning("the cluster at %s requires no token: RAY_AUTH_MODE=token closes it", head.address)


def _build_node(name: str, entry: Mapping[str, Any], answer: NodeProbe) -> Node:
    resources = entry["Resources"]
    gpus = resources.get("GPU", 0.0)
    seen = usable_gpus(answer.facts["gpus"] if answer.facts else (), gpus)
    kinds, sizes = tuple(kind for kind, _ in seen), tuple(size for _, size in seen)
    return Node(name, _address(entry), resources.get("CPU", 0.0), gpus, kinds, sizes)


def _storage_seen_by_nodes(storage_probe: SharedStorageProbe) -> str | None:
    return str(storage_probe.folder) if storage_probe.folder else None


def _address(entry: Mapping[str, Any]) -> str:
    return str(entry["NodeManagerAddress"])


def _is_local_address(address: str) -> bool:
    """Return whether a socket can be bound to the address, which only succeeds for this machine's own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
    return True
