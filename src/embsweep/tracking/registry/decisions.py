"""The record of a promotion, refusal or rollback: a file of the version's run, and short tags of the version."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from embsweep.tracking.store import Store

DECISION_TAG = "embsweep.decision"
_FOLDER = "promotion"


def now() -> str:
    """The time as it is recorded: UTC, to the millisecond, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Decision:
    """What was decided about a version, and on what details. Nobody's name is in it.

    `failed` names the conditions that did not hold; `details` is plain JSON: rule, conditions, comparisons.
    """

    outcome: Literal["promoted", "refused", "restored", "rolled back"]
    version: int
    details: Mapping[str, Any]
    failed: tuple[str, ...] = ()
    at: str = field(default_factory=now)

    @property
    def tags(self) -> dict[str, str]:
        """Latest decision about the version, at a glance."""
        return {DECISION_TAG: self.outcome, "embsweep.decided_at": self.at, "embsweep.failed": ", ".join(self.failed)}


def log_decision(store: Store, name: str, decision: Decision) -> str | None:
    """Write the decision as `promotion/<time>-<id>.json` of the run behind the version; returns that path.

    A version that was made by hand has no run, and so no such file: None.
    """
    client = store.client()
    version = client.get_model_version(name, str(decision.version))
    if version.run_id is None:
        return None
    stamp = "".join(char for char in decision.at[:19] if char.isdigit())
    path = f"{_FOLDER}/{stamp}-{uuid.uuid4().hex[:8]}.json"
    text = {
        "model": name,
        "version": decision.version,
        "outcome": decision.outcome,
        "at": decision.at,
        "failed": list(decision.failed),
        **decision.details,
    }
    client.log_text(version.run_id, json.dumps(text, indent=2, ensure_ascii=False) + "\n", path)
    return path


def tag_version(store: Store, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version, one request each: MLflow has no other way."""
    client = store.client()
    for key, value in tags.items():
        client.set_model_version_tag(name, str(version), key, value)


def record_decision(store: Store, name: str, decision: Decision) -> str | None:
    """File and tags of a decision that moves no alias; returns the file's path."""
    path = log_decision(store, name, decision)
    tag_version(store, name, decision.version, decision.tags | file_tag(path))
    return path


def file_tag(path: str | None) -> dict[str, str]:
    """Where the latest decision's file lies, as a tag of the version."""
    return {} if path is None else {"embsweep.decision_file": path}
