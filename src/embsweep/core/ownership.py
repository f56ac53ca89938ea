"""Owners and modes of the storage folder: what another user could replace is refused before it is used."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import TextIO

from embsweep.core.errors import Diagnostic, InputError

_KEY = "storage.path"
_OWN_FOLDER = "a folder that only this user can write to"
_SHARE = "or storage.shared=true, if everybody in that group may change every sweep"


def check_folder(folder: Path, *, is_shared: bool = False) -> None:
    """Check that no other user can control what is in `folder`, if it exists.

    Args:
        folder: The folder.
        is_shared: Whether members of the folder's group may write to it, and one of them may own it.

    Raises:
        InputError: With owner, mode and the command that mends it, if it is a link or no folder, belongs to another
            user, or is writable for every user (with the sticky bit too: it protects files that exist, not names) or
            for a group.
    """
    if (found := _inspect(folder)) is None:
        return
    name = shlex.quote(str(folder))
    is_groups = is_shared and found.st_gid in {os.getegid(), *os.getgroups()}
    if not stat.S_ISDIR(found.st_mode):
        _refuse(folder, found, "is not a folder", "move it away")
    if not _is_trusted(found.st_uid) and not is_groups:
        _refuse(folder, found, "belongs to another user", f"choose another storage.path, or: sudo chown $USER {name}")
    by_group = found.st_mode & stat.S_IWGRP and not (is_groups or _is_private_group(found.st_gid))
    if found.st_mode & stat.S_IWOTH:
        _refuse(folder, found, "is writable by every user", f"chmod {'go-w' if by_group else 'o-w'} {name}")
    if by_group:
        _refuse(folder, found, "is writable by its group", f"chmod g-w {name}, {_SHARE}")


def check_file(path: Path) -> None:
    """Check that a file, if it exists, is a regular one of this user.

    Raises:
        InputError: If it is a link, a pipe or a device, or belongs to another user.
    """
    if (found := _inspect(path)) is None:
        return
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, found, "is not a regular file", "move it away")
    if not _is_trusted(found.st_uid):
        _refuse(path, found, "belongs to another user", f"sudo chown $USER {shlex.quote(str(path))}")


def open_lock(path: Path, mode: int = 0o600) -> TextIO:
    """Open a lock file, and create it with `mode` if necessary.

    A link is not followed: its target would be created or overwritten. A pipe is not waited for.

    Raises:
        InputError: If it cannot be opened, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, mode)
    except OSError as error:
        raise InputError(_unusable_lock(path, str(error.strerror))) from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "a+", encoding="ascii")
    os.close(descriptor)
    raise InputError(_unusable_lock(path, "not a regular file"))


def _unusable_lock(path: Path, reason: str) -> Diagnostic:
    hint = f"remove it: rm {shlex.quote(str(path))}"
    return Diagnostic("not-writable", _KEY, f"cannot be used as a lock ({reason})", str(path), hint=hint)


def _inspect(path: Path) -> os.stat_result | None:
    """Return owner and mode of a path, None if there is nothing; refuse a link, whose target may change."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        _refuse(path, found, "is a link, whose target may change", "move the target here, or choose another path")
    return found


def _refuse(path: Path, found: os.stat_result, problem: str, fix: str) -> None:
    facts = f"owner {_name_of_user(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):04o}"
    raise InputError(Diagnostic("unsafe-folder", _KEY, f"{problem} ({facts})", str(path), _OWN_FOLDER, fix))


def _is_trusted(uid: int) -> bool:
    """Return whether a user is this one, or the machine's administrator, who could do anything anyway."""
    return uid in (os.geteuid(), 0)


def _name_of_user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _is_private_group(gid: int) -> bool:
    """Return whether a group has this user's name and no other member, as distributions with umask 002 create it."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
