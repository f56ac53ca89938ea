"""Whether the champion has a record of its promotion; MLflow's own interfaces can move its alias without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embsweep.tracking.registry.aliases import REPLACED_TAG, ModelAliases
from embsweep.tracking.registry.decisions import DECIDED_TAG, DECISION_TAG
from embsweep.tracking.registry.load import find_version
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def find_unrecorded_champion(store: Store, aliases: ModelAliases) -> str | None:
    """Return a warning if there is a champion without a record of its promotion; None otherwise.

    Args:
        store: Store of the registry.
        aliases: The current aliases of the registered model.
    """
    if aliases.champion is None:
        return None
    return describe_unrecorded(store, find_version(store, aliases.name, aliases.champion))


def describe_unrecorded(store: Store, champion: ModelVersion) -> str | None:
    """Return a warning with what records a promotion if the champion has no record of one; None if it has.

    Args:
        store: Store of the registry.
        champion: The version with the alias `champion`.
    """
    if is_recorded(champion):
        return None
    name, number = champion.name, champion.version
    decision = champion.tags.get(DECISION_TAG)
    found = f"its latest decision is {decision!r}" if decision else f"it has no tag {DECISION_TAG}"
    if REPLACED_TAG in champion.tags:
        found += f", and version {champion.tags[REPLACED_TAG]!r} replaced it"
    recorded = _find_recorded(store, name)
    mend = (
        f"give the alias champion back to version {recorded}, the latest with a record"
        if recorded
        else "delete the alias champion"
    )
    return (
        f"{name} version {number} is champion without a record of its promotion ({found}): something other than "
        f"embsweep has set the alias. To judge it, {mend}, set the alias challenger on version {number} "
        f"(embsweep ui --write, Models), and run: embsweep promote {name}"
    )


def is_recorded(version: ModelVersion) -> bool:
    """Return whether the latest decision about a version made it champion, and no other version has replaced it."""
    return version.tags.get(DECISION_TAG) in ("promoted", "restored") and REPLACED_TAG not in version.tags


def _find_recorded(store: Store, name: str) -> int | None:
    """Return the version that was made champion last, according to the records; None if there is none."""
    found = [version for version in store.client.search_model_versions(f"name = '{name}'") if is_recorded(version)]
    latest = max(found, key=lambda version: str(version.tags.get(DECIDED_TAG, "")), default=None)
    return int(latest.version) if latest is not None else None
