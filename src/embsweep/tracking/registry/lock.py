"""One promotion at a time: a lock that every registry has, because a registered model's name is unique there.

MLflow cannot compare and swap an alias. It can create a name, and refuses to create it twice.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from embsweep.core.errors import GateRefused
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SUFFIX = ".promotion-lock"
LOCK_TIMEOUT_S = 20.0
"""How long to wait for another switch; one takes a second, through a slow server a few."""

STALE_S = 300.0
"""A lock older than this was left behind by a crash. It is not broken by itself: two would break it at once."""

_OWNER_TAG, _PROCESS_TAG, _SINCE_TAG = "embsweep.lock_owner", "embsweep.lock_process", "embsweep.lock_since"
_POLL_S = 0.2


@contextmanager
def hold_lock(store: Store, name: str, *, patience_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Inside, no other promotion or rollback of the registered model `name` switches its aliases.

    GateRefused, with what to do, where another one holds the lock all the time.
    """
    client, lock, owner = store.client(), name + LOCK_SUFFIX, uuid.uuid4().hex
    _acquire(client, lock, owner, patience_s)
    try:
        yield
    finally:
        _release(client, lock, owner)


def _acquire(client: MlflowClient, lock: str, owner: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not _create(client, lock, owner):
        found = _read_tags(client, lock)
        if found is not None and found.get(_OWNER_TAG) == owner:
            return  # a request that was sent again because its answer was lost
        if found is not None and (_is_stale(found) or time.monotonic() >= deadline):
            raise GateRefused("stale-lock" if _is_stale(found) else "locked", _describe(lock, found))
        time.sleep(_POLL_S)


def _create(client: MlflowClient, lock: str, owner: str) -> bool:
    from mlflow.exceptions import MlflowException

    tags = {
        _OWNER_TAG: owner,
        _PROCESS_TAG: str(os.getpid()),
        _SINCE_TAG: datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        client.create_registered_model(lock, tags=tags, description="A promotion is switching aliases; see the tags.")
    except MlflowException as error:
        # MLflow looks at the one that is in the way, which its owner may have deleted meanwhile: not found, then.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False
    return True


def _release(client: MlflowClient, lock: str, owner: str) -> None:
    """Delete our own lock; one that somebody broke and took is theirs."""
    if (_read_tags(client, lock) or {}).get(_OWNER_TAG) == owner:
        client.delete_registered_model(lock)


def _read_tags(client: MlflowClient, lock: str) -> dict[str, str] | None:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(lock).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _is_stale(tags: dict[str, str]) -> bool:
    try:
        since = datetime.fromisoformat(tags[_SINCE_TAG])
    except (KeyError, ValueError):
        return True  # nothing of ours wrote it
    return datetime.now(UTC) - since > timedelta(seconds=STALE_S)


def _describe(lock: str, tags: dict[str, str]) -> str:
    holder = f"process {tags.get(_PROCESS_TAG, 'unknown')}, since {tags.get(_SINCE_TAG, 'unknown')}"
    if not _is_stale(tags):
        return f"another promotion or rollback is switching right now ({holder}); nothing was changed, try again"
    return (
        f"an interrupted promotion left its lock behind ({holder}); nothing was changed. If none is running, "
        f"delete the registered model '{lock}' (embsweep ui, Models) and try again"
    )
