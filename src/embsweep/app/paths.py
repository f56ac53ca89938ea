"""Where the configuration lies and where state goes by default."""

from __future__ import annotations

from pathlib import Path

_SOURCE_ROOT = Path(__file__).resolve().parents[3]
_PACKAGED = Path(__file__).resolve().parents[1] / "conf"


def conf_dir() -> Path:
    """`conf/` of the repository, or the copy inside an installed package."""
    in_repository = _SOURCE_ROOT / "conf"
    return in_repository if (in_repository / "config.yaml").is_file() else _PACKAGED


def default_storage() -> Path:
    """The repository's root, or the working directory where embsweep is installed as a plain package."""
    return _SOURCE_ROOT if conf_dir().parent == _SOURCE_ROOT else Path.cwd()
