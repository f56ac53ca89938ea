"""Query the head of a cluster in a process of its own: `python -m embsweep.runners.cluster.head_probe ADDRESS`.

Ray reads authentication mode and token once per process, waits 40 s for a head that does not exist, and aborts the
whole process if a token is missing. None of that may happen to the driver.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def ask(address: str) -> dict[str, Any]:
    """Return the cluster's versions and live nodes, or `{"refused": True}` if it does not accept the token sent."""
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.services import find_node_ids
    from ray._private.utils import check_version_info
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        client = GcsClient(address=address)
        metadata = get_cluster_metadata(client)
        nodes = client.get_all_node_info(timeout=10, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
    except AuthenticationError:
        return {"refused": True}
    try:
        check_version_info(metadata, "the driver")
        is_same_release = True
    except RuntimeError:
        is_same_release = False
    living = {identity.hex() for identity in nodes}
    return {
        "ray": metadata["ray_version"],
        "python": metadata["python_version"],
        "is_same_release": is_same_release,
        "has_node_here": bool(living & set(find_node_ids())),  # type: ignore[no-untyped-call]
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask(sys.argv[1])) + "\n")
