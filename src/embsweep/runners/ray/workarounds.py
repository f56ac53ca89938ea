"""Keep Ray out of stdout, signal handlers and the network, and remove placement groups whose creator is dead.

Ray keeps a placement group, and the resources that it reserves, until the whole job ends. The workers of a trial run in
a group that Ray Train's controller creates. Ray Train's own cleaner (a detached actor) queries the dashboard to find
out if the controller is alive; without a dashboard it never finds out, and outlives the job on a cluster that may
belong to other users. Therefore it is not started, and the driver removes the groups of dead controllers.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray._private.utils
import ray._private.worker
from ray._private import ray_constants, services
from ray._private.state import state as global_state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]
from ray.util.placement_group import PlacementGroup, remove_placement_group

log = logging.getLogger(__name__)


def log_daemon_messages() -> None:
    """Log the messages of Ray's daemons instead of printing them.

    Ray prints them from a thread of its own, whatever `log_to_driver` is (2.60, `listen_error_messages`).
    """
    ray._private.worker.print_to_stdstream = _to_log


@contextmanager
def preserve_sigterm_handler() -> Iterator[None]:
    """Keep the current SIGTERM handler while `ray.init` runs inside.

    Ray installs two: the one in C++ prints a stack trace and aborts, the one in Python ends the process with code 15.
    When Ray would replace the first by the second, the previous handler is restored instead, and again at the end.
    """
    before, ray_setter = signal.getsignal(signal.SIGTERM), ray._private.utils.set_sigterm_handler

    def restore(_: Any = None) -> None:
        if _is_main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)

    ray._private.utils.set_sigterm_handler = restore
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = ray_setter
        restore()


@contextmanager
def bind_to_loopback() -> Iterator[None]:
    """Make a Ray that is started inside listen on 127.0.0.1 only; by default its services listen on all addresses.

    Ray does this on macOS and Windows only, because of firewall prompts (`services.get_node_ip_address`, 2.60); its
    processes bind to loopback if that is their node's address. In this process it is a constant, for the daemons an
    environment variable.
    """
    loopback = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    before, start = ray_constants.ENABLE_RAY_CLUSTER, services.start_ray_process

    def start_on_loopback(
        command: Any, process_type: str, *, env_updates: dict[str, str] | None = None, **options: Any
    ) -> Any:
        return start(command, process_type, env_updates={**(env_updates or {}), **loopback}, **options)

    ray_constants.ENABLE_RAY_CLUSTER = False
    services.start_ray_process = start_on_loopback  # type: ignore[assignment]
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, services.start_ray_process = before, start


@dataclass
class Interrupts:
    """Result of `detect_interrupt`: `received` is True if SIGINT ended the block."""

    received: bool = False


@contextmanager
def detect_interrupt() -> Iterator[Interrupts]:
    """Detect a SIGINT that ends `Tuner.fit` inside, and restore the SIGINT handler.

    Tune installs a handler of its own, returns normally after a SIGINT, and restores the previous handler only if its
    own was used: the previous one in place afterwards means that a SIGINT was received. A KeyboardInterrupt ends the
    block without being raised, and counts as received too.
    """
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield interrupts
    except KeyboardInterrupt:
        interrupts.received = True
    else:
        interrupts.received = signal.getsignal(signal.SIGINT) is before and _is_main_thread()
    finally:
        if _is_main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    for line in data.get("lines", ()):
        log.warning("%s: %s", data.get("pid", "ray"), str(line).strip())


def remove_leaked_placement_groups() -> int:
    """Remove this job's placement groups whose creator, an actor, is dead; return their number."""
    job = ray.get_runtime_context().get_job_id()
    accessor = global_state._connect_and_get_accessor()
    groups = [PlacementGroupTableData.FromString(text) for text in accessor.get_placement_group_table()]
    orphans = [group for group in groups if _is_orphan(group, job)]
    for group in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
        log.warning("removed the placement group of a trial whose process died")
    return len(orphans)


def _is_orphan(group: PlacementGroupTableData, job: str) -> bool:
    is_made_by_actor = bool(group.creator_actor_id.strip(b"\xff"))
    exists = group.state != PlacementGroupTableData.REMOVED
    return group.creator_job_id.hex() == job and is_made_by_actor and group.creator_actor_dead and exists
