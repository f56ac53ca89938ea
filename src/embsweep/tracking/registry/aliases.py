"""Aliases of a registered model: reading them, promoting the challenger, and restoring an earlier champion.

Promotion and rollback hold a lock, and read the aliases again under it: before the switch they must be the ones that
were judged, and after it the new ones, since a user interface and other programs do not know the lock. If a switch is
interrupted, each step leaves a registry that the next promotion or rollback can read: the history of champions is
written before the alias moves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import Diagnostic, GateRefused, InputError, describe_exception, did_you_mean
from embsweep.core.names import CHALLENGER, CHAMPION
from embsweep.tracking.connection import answer_or_none, require_reachable
from embsweep.tracking.registry.decisions import Decision, file_tag, log_decision, tag_version
from embsweep.tracking.registry.lock import LOCK_SUFFIX, hold_lock
from embsweep.tracking.registry.register import PROMOTED_TAG
from embsweep.tracking.store import Store, existing_store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

HISTORY_TAG = "embsweep.earlier_champions"
"""Tag of the registered model: former champions, as a JSON list of version numbers, the latest last."""

RESTORED_TAG = "embsweep.restored_at"

REPLACED_TAG = "embsweep.replaced_by"
"""Tag of a version that was champion: the version that replaced it. It is deleted if it becomes champion again."""


@dataclass(frozen=True)
class ModelAliases:
    """Aliases of a registered model at one moment. `earlier` are former champions, the latest last.

    The champion is never also the challenger, even if an interrupted promotion left both aliases on one version.
    """

    name: str
    challenger: int | None
    champion: int | None
    earlier: tuple[int, ...] = ()


def open_registry(root: Path, uri: str | None) -> Store:
    """Open the store at `uri`, or the local one under `root`, only for its registry; never create one.

    Raises:
        InputError: If `uri` is blank, or the store does not exist or does not answer; at `--uri`.
    """
    if uri is not None and not uri.strip():
        raise InputError(
            Diagnostic("empty", "--uri", "is blank", uri, "the address of an MLflow server, or leave it out")
        )
    where = existing_store_uri(root, uri, "--uri")
    store = Store(where, experiment="", experiment_id="")
    try:
        require_reachable(where)
        store.client.search_registered_models(max_results=1)
    except Exception as error:  # SQLAlchemy, requests, drivers and MLflow each raise their own
        raise InputError(
            Diagnostic("unreachable", "--uri", f"no MLflow registry answers there ({describe_exception(error)})", where)
        ) from None
    return store


def read_aliases(store: Store, name: str) -> ModelAliases:
    """Read the current aliases of a registered model.

    Raises:
        InputError: If there is no such registered model (the message lists the existing ones), or the tag with the
            history of champions is invalid.
    """
    model = answer_or_none(lambda: store.client.get_registered_model(name))
    if model is None:
        known = sorted(m.name for m in store.client.search_registered_models() if not m.name.endswith(LOCK_SUFFIX))
        accepted, hint = ", ".join(known) or "none yet", did_you_mean(name, known)
        raise InputError(Diagnostic("unknown-name", "NAME", "no such registered model", name, accepted, hint))
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    earlier = _read_history(name, model.tags.get(HISTORY_TAG, "[]"))
    return ModelAliases(name, None if challenger == champion else challenger, champion, earlier)


def _read_history(name: str, tag: str) -> tuple[int, ...]:
    try:
        return tuple(int(version) for version in json.loads(tag))
    except (ValueError, TypeError, OverflowError, RecursionError):
        problem, hint = f"the tag {HISTORY_TAG} is not a list of versions", "fix or delete the tag in the registry"
        raise InputError(Diagnostic("bad-format", name, problem, tag, "[1, 2]", hint)) from None


def champion_since(version: ModelVersion) -> str:
    """Return the recorded time when this version became champion; `an unknown time` if its alias was set by hand."""
    return max(version.tags.get(PROMOTED_TAG, ""), version.tags.get(RESTORED_TAG, "")) or "an unknown time"


def promote_version(store: Store, judged: ModelAliases, decision: Decision) -> str | None:
    """Make the judged challenger the champion, and record the decision.

    The aliases are unchanged, or those that another process has set, if one of the errors below is raised.

    Args:
        store: Store of the registry.
        judged: Aliases when the version was judged.
        decision: Decision to promote.

    Returns:
        The path of the decision's file; None if the version has no run.

    Raises:
        GateRefused: If another promotion or rollback holds the lock, champion or challenger is no longer the version
            that was judged, or the champion was changed during the switch.
    """
    client, name, replaced = store.client, judged.name, judged.champion
    with hold_lock(store, name, f"version {decision.version} becomes champion"):
        _require_unmoved(store, judged)
        path = log_decision(store, name, decision)
        # once each, at its latest time: otherwise rollbacks would cycle
        others = tuple(version for version in judged.earlier if version != replaced)
        earlier = others if replaced is None else (*others, replaced)
        _write_history(client, name, earlier)
        client.set_registered_model_alias(name, CHAMPION, str(decision.version))
        _require_switched(store, judged, ModelAliases(name, None, decision.version, earlier))
        remove_stale_challenger(store, name)
        tags = {PROMOTED_TAG: decision.at, **file_tag(path)}
        if replaced is not None:
            tags["embsweep.replaced"] = str(replaced)
            tag_version(store, name, replaced, {REPLACED_TAG: str(decision.version)})
        tag_version(store, name, decision.version, decision.tags | tags)
        client.delete_model_version_tag(name, str(decision.version), REPLACED_TAG)
    return path


def restore_champion(store: Store, judged: ModelAliases, restored: Decision, rolled_back: Decision) -> str | None:
    """Make `restored.version` champion again in place of `rolled_back.version`, and record both decisions.

    The history is cut before the restored version, so that the next rollback continues to the champion before it. The
    aliases are unchanged, or those that another process has set, if one of the errors below is raised.

    Args:
        store: Store of the registry.
        judged: Aliases when the rollback was requested.
        restored: Decision about the version that becomes champion again.
        rolled_back: Decision about the current champion.

    Returns:
        The path of the file of `rolled_back`; None if its version has no run.

    Raises:
        GateRefused: If another promotion or rollback holds the lock, champion or challenger is no longer the version in
            `judged`, or the champion was changed during the switch.
    """
    client, name = store.client, judged.name
    with hold_lock(store, name, f"version {restored.version} becomes champion again"):
        _require_unmoved(store, judged)
        path = log_decision(store, name, rolled_back)
        log_decision(store, name, restored)
        remove_stale_challenger(store, name)
        client.set_registered_model_alias(name, CHAMPION, str(restored.version))
        earlier = judged.earlier[: judged.earlier.index(restored.version)]
        _write_history(client, name, earlier)
        _require_switched(store, judged, ModelAliases(name, None, restored.version, earlier))
        replaced = {"embsweep.rolled_back_at": rolled_back.at, "embsweep.rolled_back_to": str(restored.version)}
        tag_version(store, name, rolled_back.version, rolled_back.tags | replaced | file_tag(path))
        tag_version(store, name, restored.version, restored.tags | {RESTORED_TAG: restored.at})
        client.delete_model_version_tag(name, str(restored.version), REPLACED_TAG)
    return path


def remove_stale_challenger(store: Store, name: str) -> None:
    """Delete the alias `challenger` if it is on the champion; otherwise a sweep may have set it on a new version."""
    aliases = store.client.get_registered_model(name).aliases
    if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
        store.client.delete_registered_model_alias(name, CHALLENGER)


def _require_unmoved(store: Store, judged: ModelAliases) -> None:
    """Raise GateRefused unless the aliases are those that were judged."""
    now = read_aliases(store, judged.name)
    if now != judged:
        changes = _describe_changes(store, judged, now)
        raise GateRefused(
            "overtaken",
            f"{now.name} was changed by another process while this was judged: {changes}; nothing was changed",
        )


def _require_switched(store: Store, judged: ModelAliases, wanted: ModelAliases) -> None:
    """Raise GateRefused unless champion and history are the ones just written.

    The alias stays where the other process has put it. If that is where it was before, the history returns to what it
    was before, too; else it is right already: it ends in the champion that was replaced.
    """
    now = read_aliases(store, judged.name)
    if (now.champion, now.earlier) == (wanted.champion, wanted.earlier):
        return
    if (now.champion, now.earlier) == (judged.champion, wanted.earlier):
        _write_history(store.client, judged.name, judged.earlier)
    changes = _describe_changes(store, replace(wanted, challenger=now.challenger), now)
    raise GateRefused(
        "overtaken", f"{now.name} was changed by another process during the switch: {changes}; this was left as it is"
    )


def _describe_changes(store: Store, expected: ModelAliases, now: ModelAliases) -> str:
    changes = []
    if now.champion != expected.champion:
        since = champion_since(store.client.get_model_version(now.name, str(now.champion))) if now.champion else ""
        new = f"version {now.champion} since {since}" if now.champion else "none"
        changes.append(f"the champion is {new} (it was {_version(expected.champion)})")
    if now.challenger != expected.challenger:
        changes.append(f"the challenger is {_version(now.challenger)} (it was {_version(expected.challenger)})")
    return " and ".join(changes) or "the list of earlier champions was changed"


def _version(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def _write_history(client: MlflowClient, name: str, earlier: tuple[int, ...]) -> None:
    client.set_registered_model_tag(name, HISTORY_TAG, json.dumps(list(earlier)))
