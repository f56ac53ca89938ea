"""Authentication token of a Ray cluster: its location, its file permissions, and its use by Ray."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from embsweep.core.environment import given, replace_value, set_default_environment
from embsweep.core.files import expand_home

log = logging.getLogger(__name__)

MODE_VARIABLE = "RAY_AUTH_MODE"


def has_token() -> bool:
    """Return whether Ray would find a token: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    try:
        return bool(find_token_file().read_text().strip())
    except OSError:
        return False


def find_token_file() -> Path:
    """Return the path of the file that Ray would read the token from; it need not exist."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return expand_home(named) if named else Path.home() / ".ray" / "auth_token"


def restrict_token_permissions() -> None:
    """Make the token's file readable by its owner only; Ray writes it readable by all users."""
    path = find_token_file()
    try:
        status = path.stat()
    except OSError:
        return
    if not stat.S_IMODE(status.st_mode) & 0o077:
        return
    if status.st_uid != os.getuid():
        log.warning("other users may read the Ray token in %s; it is not ours to change", path)
        return
    path.chmod(0o600)
    log.warning("other users could read the Ray token in %s: its mode is 0600 now", path)


def enable_token_auth(is_asked_for: bool) -> None:
    """Make this process send its token from now on, or none; a mode that the user has set is kept.

    Ray's C++ side reads mode and token once per process: both are made to read again.
    """
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    set_default_environment()
    if given(MODE_VARIABLE) is None:
        replace_value(MODE_VARIABLE, "token" if is_asked_for else "disabled")
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
