"""Paths that begin with `~`."""

from __future__ import annotations

from pathlib import Path

NO_USER = "begins with '~' and the name of no user here"


def expand_home(path: str | Path) -> Path:
    """`path` with `~` and `~user` replaced; as it stands where there is no such user (`names_no_user`)."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def names_no_user(path: str | Path) -> bool:
    """Whether `path` begins with `~` and the name of nobody on this machine."""
    return str(path).startswith("~") and str(expand_home(path)).startswith("~")
