"""Where the configuration lies and where state goes by default."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_SOURCE_ROOT = Path(__file__).resolve().parents[3]
_PACKAGED = Path(__file__).resolve().parents[1] / "conf"


def conf_dir() -> Path:
    """`conf/` of the repository, or the copy inside an installed package."""
    in_repository = _SOURCE_ROOT / "conf"
    return in_repository if (in_repository / "config.yaml").is_file() else _PACKAGED


def program(name: str) -> str:
    """How to call a program of this environment (`python`, `embsweep`) from the working directory."""
    ours = Path(sys.executable).with_name(name)
    if not ours.exists() or shutil.which(name) == str(ours):
        return name
    near = os.path.relpath(ours)
    return str(ours) if near.startswith("..") else near


def default_storage() -> Path:
    """The repository's root, or the working directory where embsweep is installed as a plain package."""
    return _SOURCE_ROOT if conf_dir().parent == _SOURCE_ROOT else Path.cwd()
