"""Ray as a guest in this process: its daemons speak to the log, and signals stay with whoever asked for them.

Placement groups whose maker is dead: Ray keeps them until the whole job ends, and what they hold with them.

A trial's workers lie in a group that Ray Train's controller made. Its own cleaner (a detached actor) asks the dashboard
whether the controller lives; without one it never learns, and outlives the job on somebody else's cluster. So it is not
started, and the driver frees what a dead controller left.
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
    """Ray prints them from a thread of its own, whatever `log_to_driver` says (2.60, `listen_error_messages`)."""
    ray._private.worker.print_to_stdstream = _to_log


@contextmanager
def preserve_sigterm_handler() -> Iterator[None]:
    """Inside, `ray.init` leaves SIGTERM to who has it.

    Of its handlers, the one in C++ prints a stack trace and aborts, the one in Python ends the process with code 15.
    Where Ray would replace the first by the second, that of before is put instead, and once more at the end.
    """
    before, theirs = signal.getsignal(signal.SIGTERM), ray._private.utils.set_sigterm_handler

    def give_back(_: Any = None) -> None:
        if _is_main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)

    ray._private.utils.set_sigterm_handler = give_back
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = theirs
        give_back()


@contextmanager
def bind_to_loopback() -> Iterator[None]:
    """Inside, a Ray that is started listens on 127.0.0.1 alone; by default its services listen on all addresses.

    Ray has this for macOS and Windows only, where firewalls ask (`services.get_node_ip_address`, 2.60); its processes
    bind to loopback when that is their node's address. A constant here, a variable in the environment of the daemons.
    """
    own = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    before, start = ray_constants.ENABLE_RAY_CLUSTER, services.start_ray_process

    def start_on_loopback(
        command: Any, process_type: str, *, env_updates: dict[str, str] | None = None, **options: Any
    ) -> Any:
        return start(command, process_type, env_updates={**(env_updates or {}), **own}, **options)

    ray_constants.ENABLE_RAY_CLUSTER = False
    services.start_ray_process = start_on_loopback  # type: ignore[assignment]
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, services.start_ray_process = before, start


@dataclass
class Interrupts:
    """Whether SIGINT was received."""

    received: bool = False


@contextmanager
def detect_interrupt() -> Iterator[Interrupts]:
    """Tune takes SIGINT for itself, returns as if nothing had been, and keeps the handler: notice it, and give it back.

    Inside, a KeyboardInterrupt ends the block and is noticed too. Tune gives the handler back only when it was used.
    """
    found = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield found
    except KeyboardInterrupt:
        found.received = True
    else:
        found.received = signal.getsignal(signal.SIGINT) is before and _is_main_thread()
    finally:
        if _is_main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    for line in data.get("lines", ()):
        log.warning("%s: %s", data.get("pid", "ray"), str(line).strip())


def remove_leaked_placement_groups() -> int:
    """Remove this job's placement groups that an actor made which is dead; returns how many there were."""
    job = ray.get_runtime_context().get_job_id()
    accessor = global_state._connect_and_get_accessor()
    groups = [PlacementGroupTableData.FromString(text) for text in accessor.get_placement_group_table()]
    orphans = [group for group in groups if _is_orphan(group, job)]
    for group in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
        log.warning("freed the place of workers whose trial's process died")
    return len(orphans)


def _is_orphan(group: PlacementGroupTableData, job: str) -> bool:
    is_made_by_actor = bool(group.creator_actor_id.strip(b"\xff"))
    is_there = group.state != PlacementGroupTableData.REMOVED
    return group.creator_job_id.hex() == job and is_made_by_actor and group.creator_actor_dead and is_there
