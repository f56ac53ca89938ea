"""The way back: the champion before this one serves again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from embsweep.core.errors import GateRefused, InputError
from embsweep.tracking.registry.aliases import ModelAliases, open_registry, read_aliases, restore_champion
from embsweep.tracking.registry.decisions import Decision, log_decision
from embsweep.tracking.registry.load import fetch_version, find_version
from embsweep.tracking.store import Store


@dataclass(frozen=True)
class Rollback:
    """`restored` serves instead of `rolled_back`. `left` are champions before it; `record` None for a dry run."""

    name: str
    rolled_back: int
    restored: int
    left: tuple[int, ...]
    notes: tuple[str, ...] = ()
    record: str | None = None


def roll_back(name: str, storage: Path, uri: str | None = None, *, dry_run: bool = False) -> Rollback:
    """Restore the previous champion, unless this is a dry run; called again, the one before it.

    Its files are compared with what was registered; nothing is measured, so that it takes seconds. GateRefused where
    there is none or its files were altered.
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
            log_decision(store, name, refused)  # a file only: the version's tags say why it serves
        raise


def _roll_back(store: Store, aliases: ModelAliases, serving: int, *, dry_run: bool) -> Rollback:
    name = aliases.name
    target, gone = _find_target(store, aliases)
    notes = tuple(f"version {number} was champion before, but is gone from the registry" for number in gone)
    _check_files(store, name, target)
    left = aliases.earlier[: aliases.earlier.index(target)]
    found = Rollback(name, serving, target, left, notes)
    if dry_run:
        return found
    record = restore_champion(
        store,
        aliases,
        Decision("restored", target, {"instead_of": serving}),
        Decision("rolled back", serving, {"restored": target}),
    )
    return replace(found, record=record)


def _find_target(store: Store, aliases: ModelAliases) -> tuple[int, list[int]]:
    """The latest earlier champion that still exists, and those after it that do not."""
    gone = []
    for number in reversed([number for number in aliases.earlier if number != aliases.champion]):
        try:
            find_version(store, aliases.name, number)
        except InputError:
            gone.append(number)
            continue
        return number, gone
    known = f"; versions {', '.join(map(str, gone))} were, but are gone" if gone else ""
    raise GateRefused(
        "no-earlier-champion",
        f"{aliases.name}: no champion before version {aliases.champion} is known{known}; nothing was changed",
    )


def _check_files(store: Store, name: str, number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        fetched = fetch_version(store, find_version(store, name, number), Path(scratch) / "model")
    if fetched.error:
        raise GateRefused("altered-file", f"version {number} cannot serve again: {fetched.error}; nothing was changed")
