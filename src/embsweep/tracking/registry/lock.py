"""Lock that serialises promotions: a registered model whose unique name serves as the lock.

MLflow has no compare-and-swap for aliases, but refuses to create the same name twice; this works in every registry.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embsweep.core.errors import GateRefused
from embsweep.tracking.connection import answer_or_none
from embsweep.tracking.registry.decisions import now
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SUFFIX = ".promotion-lock"
_HOLDER_TAG = "embsweep.lock_holder"


@contextmanager
def hold_lock(store: Store, name: str, purpose: str) -> Iterator[None]:
    """Hold the lock: no other promotion or rollback of the registered model `name` can switch its aliases meanwhile.

    A switch takes about a second, so a second one is refused at once instead of waiting. A process that dies leaves
    its lock behind. It is not removed automatically, because whether its process still runs cannot be known from here.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        purpose: What happens under the lock, for the message to others (`version 3 becomes champion`).

    Raises:
        GateRefused: If the lock exists, with its holder and what to do if that is dead.
    """
    client, lock = store.client, name + LOCK_SUFFIX
    holder = f"process {os.getpid()} on {socket.gethostname()} since {now()} ({os.urandom(3).hex()}): {purpose}"
    created = answer_or_none(
        lambda: client.create_registered_model(lock, tags={_HOLDER_TAG: holder}),
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",  # MLflow reads the existing model after the conflict; its owner has deleted it
    )
    if created is None and (other := _read_holder(client, lock)) != holder:  # a repeated request meets its own lock
        raise GateRefused(
            "locked",
            f"another promotion or rollback of {name} is switching its aliases ({other}); nothing "
            f"was changed, try again. If that process is dead, delete the registered model '{lock}' first "
            "(embsweep ui --write, Models)",
        )
    try:
        yield
    finally:
        if _read_holder(client, lock) == holder:  # not if it was deleted by hand, and taken by another process
            client.delete_registered_model(lock)


def _read_holder(client: MlflowClient, lock: str) -> str:
    found = answer_or_none(lambda: client.get_registered_model(lock))
    return "one that has just ended" if found is None else str(found.tags.get(_HOLDER_TAG, "unknown"))
