"""The switch itself: `challenger` becomes `champion`, or an earlier champion comes back. One at a time.

Under the lock the aliases are read again: what was judged must still stand. Each step leaves a registry that the
next promotion or rollback can read, should this one be cut off: the history is written before the alias moves.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from embsweep.errors import GateRefused
from embsweep.names import CHALLENGER, CHAMPION
from embsweep.tracking.decisions import Decision, file_tag, log_decision, tag_version
from embsweep.tracking.lock import hold_lock
from embsweep.tracking.registry import PROMOTED_TAG
from embsweep.tracking.standing import HISTORY_TAG, RESTORED_TAG, Standing, champion_since, read_standing
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Overtaken(GateRefused):
    """Another promotion or rollback moved an alias after this one had judged."""


def switch_champion(store: Store, judged: Standing, decision: Decision) -> str | None:
    """Make the judged challenger champion and record it; returns the path of the record.

    Raises Overtaken where champion or challenger is no longer the version that was judged, GateRefused where
    another switch holds the lock. Nothing is changed then.
    """
    client = store.client()
    with hold_lock(store, judged.name):
        _check_unmoved(client, judged, read_standing(store, judged.name))
        path = log_decision(store, judged.name, decision)
        if judged.champion is not None:
            _write_history(client, judged.name, (*_without(judged.earlier, judged.champion), judged.champion))
        client.set_registered_model_alias(judged.name, CHAMPION, str(decision.version))
        drop_stale_challenger(store, judged.name)
        tags = {PROMOTED_TAG: decision.at, **file_tag(path)}
        if judged.champion is not None:
            tags["embsweep.replaced"] = str(judged.champion)
            tag_version(store, judged.name, judged.champion, {"embsweep.replaced_by": str(decision.version)})
        tag_version(store, judged.name, decision.version, decision.tags | tags)
    return path


def restore_champion(store: Store, judged: Standing, restored: Decision, rolled_back: Decision) -> str | None:
    """Make `restored.version` champion again, `rolled_back.version` none; returns the path of the latter's record.

    Raises like `switch_champion`. The history ends before the restored version, so that the next rollback goes on.
    """
    client, name = store.client(), judged.name
    with hold_lock(store, name):
        _check_unmoved(client, judged, read_standing(store, name))
        path = log_decision(store, name, rolled_back)
        log_decision(store, name, restored)
        drop_stale_challenger(store, name)
        client.set_registered_model_alias(name, CHAMPION, str(restored.version))
        _write_history(client, name, judged.earlier[: judged.earlier.index(restored.version)])
        away = {"embsweep.rolled_back_at": rolled_back.at, "embsweep.rolled_back_to": str(restored.version)}
        tag_version(store, name, rolled_back.version, rolled_back.tags | away | file_tag(path))
        tag_version(store, name, restored.version, restored.tags | {RESTORED_TAG: restored.at})
        client.delete_model_version_tag(name, str(restored.version), "embsweep.replaced_by")
    return path


def drop_stale_challenger(store: Store, name: str) -> None:
    """Take the alias `challenger` off the champion, and only off the champion: a sweep may have set a new one."""
    client = store.client()
    aliases = client.get_registered_model(name).aliases
    if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
        client.delete_registered_model_alias(name, CHALLENGER)


def _check_unmoved(client: MlflowClient, judged: Standing, now: Standing) -> None:
    if now == judged:
        return
    changes = []
    if now.champion != judged.champion:
        since = champion_since(client.get_model_version(now.name, str(now.champion))) if now.champion else ""
        new = f"version {now.champion} since {since}" if now.champion else "none"
        changes.append(f"the champion is {new} (it was {_version(judged.champion)})")
    if now.challenger != judged.challenger:
        changes.append(f"the challenger is {_version(now.challenger)} (it was {_version(judged.challenger)})")
    what = " and ".join(changes) or "the list of earlier champions was changed"
    raise Overtaken(
        "overtaken", f"{now.name} was changed by somebody else while this was judged: {what}; nothing was changed here"
    )


def _version(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def _without(earlier: tuple[int, ...], version: int) -> tuple[int, ...]:
    """A version stands in the history once, at its latest time: a rollback must not go in circles."""
    return tuple(v for v in earlier if v != version)


def _write_history(client: MlflowClient, name: str, earlier: tuple[int, ...]) -> None:
    client.set_registered_model_tag(name, HISTORY_TAG, json.dumps(list(earlier)))
