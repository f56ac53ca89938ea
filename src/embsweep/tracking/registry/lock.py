"""Lock that serialises promotions: a registered model whose unique name serves as the lock.

MLflow has no compare-and-swap for aliases, but refuses to create the same name twice; this works in every registry.
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
"""Seconds to wait for another promotion; one takes about a second, on a slow server a few."""

STALE_S = 300.0
"""A lock older than this is left from a crash. It is not removed automatically: two processes might do so at once."""

_OWNER_TAG, _PROCESS_TAG, _SINCE_TAG = "embsweep.lock_owner", "embsweep.lock_process", "embsweep.lock_since"
_POLL_S = 0.2


@contextmanager
def hold_lock(store: Store, name: str, *, patience_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock: no other promotion or rollback of the registered model `name` can switch its aliases meanwhile.

    Raises GateRefused, with the way to fix it, if another process holds the lock for `patience_s` or the lock is stale.
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
            return  # a retried request whose first response was lost
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
        # MLflow reads the existing model after the conflict; "not found" if its owner has deleted it meanwhile.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False
    return True


def _release(client: MlflowClient, lock: str, owner: str) -> None:
    """Delete the lock if this process still owns it; another one may have removed and taken it."""
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
        return True  # not written by this program
    return datetime.now(UTC) - since > timedelta(seconds=STALE_S)


def _describe(lock: str, tags: dict[str, str]) -> str:
    holder = f"process {tags.get(_PROCESS_TAG, 'unknown')}, since {tags.get(_SINCE_TAG, 'unknown')}"
    if not _is_stale(tags):
        return f"another promotion or rollback is switching right now ({holder}); nothing was changed, try again"
    return (
        f"an interrupted promotion left its lock behind ({holder}); nothing was changed. If none is running, "
        f"delete the registered model '{lock}' (embsweep ui, Models) and try again"
    )
