"""Roll back a registered model to its previous champion."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from embsweep.core.errors import GateRefused, InputError
from embsweep.tracking.registry.aliases import ModelAliases, open_registry, read_aliases, restore_champion
from embsweep.tracking.registry.champion import find_unrecorded_champion
from embsweep.tracking.registry.decisions import Decision, log_decision
from embsweep.tracking.registry.load import fetch_version, find_version
from embsweep.tracking.store import Store


@dataclass(frozen=True)
class Rollback:
    """Result of a rollback: version `restored` is champion instead of `rolled_back`.

    `left` are the champions before it, to which further rollbacks can return.
    """

    rolled_back: int
    restored: int
    left: tuple[int, ...]
    notes: tuple[str, ...] = ()


def roll_back(name: str, storage: Path, uri: str | None = None, *, dry_run: bool = False) -> Rollback:
    """Restore the previous champion; each further call restores the one before it.

    The files are compared with the registered hashes. No model is evaluated, so that it takes seconds.

    Args:
        name: The registered model.
        storage: The storage folder, with the local store.
        uri: The MLflow store, if it is not the local one.
        dry_run: Only check whether it is possible; change and record nothing.

    Raises:
        GateRefused: If there is no previous champion, its files were altered, or another promotion or rollback was
            faster.
        InputError: If there is no such store or registered model.
    """
    store = open_registry(storage, uri)
    aliases = read_aliases(store, name)
    if aliases.champion is None:
        raise GateRefused("no-champion", f"{name} has no champion to roll back; nothing was changed")
    try:
        return _roll_back(store, aliases, aliases.champion, dry_run=dry_run)
    except GateRefused as error:
        if not dry_run:
            refused = Decision("refused", aliases.champion, {"action": "rollback", "reason": str(error)}, ("rollback",))
            log_decision(store, name, refused)  # a file only: the version's tags record why it is champion
        raise


def _roll_back(store: Store, aliases: ModelAliases, serving: int, *, dry_run: bool) -> Rollback:
    unrecorded = find_unrecorded_champion(store, aliases)
    number, deleted = _find_target(store, aliases, unrecorded)
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        fetched = fetch_version(store, find_version(store, aliases.name, number), Path(scratch) / "model")
    if fetched.error:
        raise GateRefused("altered-file", f"version {number} cannot be restored: {fetched.error}; nothing was changed")
    if not dry_run:
        restored = Decision("restored", number, {"instead_of": serving})
        restore_champion(store, aliases, restored, Decision("rolled back", serving, {"restored": number}))
    left = aliases.earlier[: aliases.earlier.index(number)]
    notes = [f"version {gone} was champion before, but no longer exists" for gone in deleted]
    return Rollback(serving, number, left, tuple([unrecorded, *notes] if unrecorded else notes))


def _find_target(store: Store, aliases: ModelAliases, unrecorded: str | None) -> tuple[int, list[int]]:
    """Return the latest earlier champion that still exists, and the later ones that do not."""
    deleted: list[int] = []
    for number in reversed([number for number in aliases.earlier if number != aliases.champion]):
        try:
            find_version(store, aliases.name, number)
        except InputError:
            deleted.append(number)
        else:
            return number, deleted
    known = f"; versions {', '.join(map(str, deleted))} were deleted" if deleted else ""
    raise GateRefused(
        "no-earlier-champion",
        f"{aliases.name}: no champion before version {aliases.champion} is known{known}; nothing was changed"
        + (f". {unrecorded}" if unrecorded else ""),
    )
