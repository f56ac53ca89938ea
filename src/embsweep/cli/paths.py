"""Paths of the configuration, of this environment's programs and of the default storage folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_SOURCE_ROOT = Path(__file__).resolve().parents[3]
_PACKAGED = Path(__file__).resolve().parents[1] / "conf"


def conf_dir() -> Path:
    """Return `conf/` of the repository, or its copy in the installed package if there is no repository."""
    in_repository = _SOURCE_ROOT / "conf"
    return in_repository if (in_repository / "config.yaml").is_file() else _PACKAGED


def program(name: str) -> str:
    """Return the command for a program of this environment (`python`, `embsweep`).

    It is the plain name if `PATH` leads to this environment's program, or if the environment has no such program; else
    a path, relative to the working directory if the program is below it.
    """
    ours = Path(sys.executable).with_name(name)
    if not ours.exists() or shutil.which(name) == str(ours):
        return name
    near = os.path.relpath(ours)
    return str(ours) if near.startswith("..") else near


def default_storage() -> Path:
    """Return the repository's root, or the working directory if embsweep is installed without its repository."""
    return _SOURCE_ROOT if conf_dir().parent == _SOURCE_ROOT else Path.cwd()
