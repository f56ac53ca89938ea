"""The champion of the registered model that a sweep registers in, for `embsweep status`."""

from __future__ import annotations

import contextlib

from embsweep.core.errors import InputError
from embsweep.core.names import CHAMPION, rehearsal_name
from embsweep.search.read import read_metadata
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import read_identity


def find_unrecorded(folder: SweepFolder) -> str | None:
    """Return a warning if the champion of the sweep's registered model has no record of its promotion.

    Only the local store is read, and only if the sweep has registered its winner there: `embsweep status` contacts no
    server.
    """
    metadata = read_metadata(folder.ledger)
    tracking = metadata.get("tracking")
    if tracking is None or "result" not in metadata or tracking["store"]["uri"] is not None:
        return None
    from embsweep.tracking.registry.aliases import open_registry
    from embsweep.tracking.registry.champion import describe_unrecorded
    from embsweep.tracking.registry.load import find_version

    name = tracking["registered_model"]
    full_name = rehearsal_name(name) if read_identity(metadata).rehearsal else name
    with contextlib.suppress(InputError):  # there is no store, no such model there, or no champion
        store = open_registry(folder.storage, None)
        return describe_unrecorded(store, find_version(store, full_name, CHAMPION))
    return None
