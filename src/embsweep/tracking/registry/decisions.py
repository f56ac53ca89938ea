"""Records of promotions, refusals and rollbacks: a file of the version's run, and short tags of the version."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from embsweep.tracking.store import Store

DECISION_TAG, DECIDED_TAG = "embsweep.decision", "embsweep.decided_at"
"""Tags of a version: outcome and time of its latest decision."""


def now() -> str:
    """Return the current time in UTC to the millisecond, as a text (ISO 8601) that sorts like the time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Decision:
    """Decision about a version. It contains no user name.

    `failed` lists the conditions that were not met; `details` is plain JSON: rule, conditions, comparisons.
    """

    outcome: Literal["promoted", "refused", "restored", "rolled back"]
    version: int
    details: Mapping[str, Any]
    failed: tuple[str, ...] = ()
    at: str = field(default_factory=now)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the version that summarise its latest decision."""
        return {
            DECISION_TAG: self.outcome,
            DECIDED_TAG: self.at,
            "embsweep.failed": ", ".join(self.failed),
        }


def log_decision(store: Store, name: str, decision: Decision) -> str | None:
    """Write the decision as an artifact of the version's run, `promotion/<time>-<id>.json`.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        decision: Decision to write.

    Returns:
        The path of the artifact; None if the version has no run, because it was created by hand.
    """
    version = store.client.get_model_version(name, str(decision.version))
    if version.run_id is None:
        return None
    stamp = "".join(char for char in decision.at[:19] if char.isdigit())
    path = f"promotion/{stamp}-{uuid.uuid4().hex[:8]}.json"
    text = {
        "model": name,
        "version": decision.version,
        "outcome": decision.outcome,
        "at": decision.at,
        "failed": list(decision.failed),
        **decision.details,
    }
    store.client.log_text(version.run_id, json.dumps(text, indent=2, ensure_ascii=False) + "\n", path)
    return path


def tag_version(store: Store, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version, with one request each: MLflow has no batch request for them.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        version: Number of the version.
        tags: Tags to set.
    """
    for key, value in tags.items():
        store.client.set_model_version_tag(name, str(version), key, value)


def record_decision(store: Store, name: str, decision: Decision) -> str | None:
    """Write file and tags of a decision that does not move an alias.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        decision: Decision to record.

    Returns:
        The path of the file; None if the version has no run.
    """
    path = log_decision(store, name, decision)
    tag_version(store, name, decision.version, decision.tags | file_tag(path))
    return path


def file_tag(path: str | None) -> dict[str, str]:
    """Return the tag with the path of the latest decision's file; none if there is no file."""
    return {} if path is None else {"embsweep.decision_file": path}
