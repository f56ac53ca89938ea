"""Start Ray or join a cluster as a guest: Ray keeps out of stdout, signal handlers and the network."""

from __future__ import annotations

import logging
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray._private.worker
from ray.tune.execution import class_cache

from embsweep.core.environment import set_default_environment
from embsweep.core.files import expand_home

log = logging.getLogger(__name__)


def connect(address: str, **options: Any) -> None:
    """Call `ray.init`; its logs reach our handlers, and the handler of SIGTERM stays.

    Args:
        address: The address of a cluster's head, `local` to start Ray here.
        **options: Further arguments of `ray.init`.

    Raises:
        KeyboardInterrupt: If SIGTERM is received meanwhile.
    """
    set_default_environment()
    _keep_secrets_out()
    logging.getLogger("ray").propagate = True
    # Ray prints messages of its daemons ("a worker died") from a thread of its own, whatever `log_to_driver` is, and
    # has no setting for it (2.60, `listen_error_messages`).
    ray._private.worker.print_to_stdstream = _to_log
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
        finally:  # a second handler, in C++, prints a stack trace and aborts
            if _is_main_thread() and before is not None:
                signal.signal(signal.SIGTERM, before)
    except (
        SystemExit
    ):  # Ray's handler of SIGTERM, which it installs first; it may be called as late as in the line above
        raise KeyboardInterrupt from None
    restrict_token_permissions()


def _keep_secrets_out() -> None:
    """Keep Tune from putting AWS credentials into runtime environments, which Ray writes to its logs.

    A trial needs none: it reads its data from Ray and writes to the storage folder.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )


def restrict_token_permissions() -> None:
    """Make the file of the token readable by its owner only; Ray writes it readable by all users."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = expand_home(named) if named else Path.home() / ".ray" / "auth_token"
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


@contextmanager
def raise_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt if a SIGINT has ended `Tuner.fit` inside, and restore the SIGINT handler.

    Tune installs a handler of its own, returns normally after a SIGINT, and restores the previous handler only if its
    own was used: the previous one in place afterwards means that a SIGINT was received.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
        if signal.getsignal(signal.SIGINT) is before and _is_main_thread():
            raise KeyboardInterrupt
    finally:
        if _is_main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    for line in data.get("lines", ()):
        log.warning("%s: %s", data.get("pid", "ray"), str(line).strip())
