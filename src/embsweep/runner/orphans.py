"""Placement groups whose maker is dead: Ray keeps them until the whole job ends, and what they hold with them.

A trial's workers lie in a group that Ray Train's controller made. Its own cleaner (a detached actor) asks the dashboard
whether the controller lives; without one it never learns, and outlives the job on somebody else's cluster. So it is not
started, and the driver frees what a dead controller left.
"""

from __future__ import annotations

import logging

import ray
from ray._private.state import state as global_state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]
from ray.util.placement_group import PlacementGroup, remove_placement_group

log = logging.getLogger(__name__)


def free_orphans() -> int:
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
