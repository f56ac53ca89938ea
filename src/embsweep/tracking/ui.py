"""MLflow's own web interface for the store, on the loopback interface only, for whoever has the printed link."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.tracking.store import existing_store_uri
from embsweep.tracking.ui_guard import HEALTH_PATH, cookie_name
from embsweep.tracking.ui_link import find_page
from embsweep.tracking.ui_server import ARTIFACTS, LOOPBACK, STORE, TOKEN, WRITES

_STOP_TIMEOUT_S = 10


def run_ui(
    root: Path,
    uri: str | None,
    *,
    port: int,
    writes: bool = False,
    on_ready: Callable[[str], None] = lambda link: None,
) -> None:
    """Serve the store until Ctrl-C, which the caller makes of SIGTERM too (`handle_signals`).

    Args:
        root: Folder of the local store.
        uri: URI of the store's database, None for the local one.
        port: Port of the server; 0 chooses a free one.
        writes: Whether the browser may change records and the registry.
        on_ready: Receives the link, which contains a new token, once the server answers. It opens the newest sweep.

    Raises:
        InputError: If the port is taken, the store is a server itself, or there is no store yet.
        EmbsweepError: If the server ends before it is stopped, with the end of its log.
    """
    if uri is not None and uri.startswith(("http://", "https://")):
        raise InputError(
            Diagnostic("not-local", "tracking.uri", "is a server with its own interface: open it in a browser", uri)
        )
    where, port = existing_store_uri(root, uri, "tracking.uri"), find_port(port)
    url, token = f"http://{LOOPBACK}:{port}", secrets.token_urlsafe(32)
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
    ):
        child = subprocess.Popen(  # noqa: S603 - our own command
            ui_command(port),
            cwd=root,
            env=os.environ | ui_environment(root, where, token, writes=writes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the child with its workers
        )
        try:
            while child.poll() is None and not _answers(url):
                time.sleep(0.2)
            if child.poll() is None:
                on_ready(f"{url}/?token={token}{find_page(url, f'{cookie_name(port)}={token}')}")
            child.wait()
            log.seek(0)
            last_lines = "\n".join(log.read().splitlines()[-8:])
            raise EmbsweepError(f"the MLflow interface at {url} ended:\n{last_lines}")
        finally:
            _stop(child)


def ui_command(port: int) -> list[str]:
    """Return the command of the server, without any secret: every user of the machine could read it (`ps`)."""
    return [sys.executable, "-P", "-m", "embsweep.tracking.ui_server", str(port)]


def ui_environment(root: Path, uri: str, token: str, *, writes: bool) -> dict[str, str]:
    """Return the environment variables that `ui_command` needs besides those of this process.

    Args:
        root: Folder of the local store.
        uri: URI of the store's database.
        token: Token that requests must have.
        writes: Whether requests may change records and the registry.
    """
    return {
        STORE: uri,
        ARTIFACTS: str(root.resolve() / "mlruns"),
        TOKEN: token,
        WRITES: str(writes).lower(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # MLflow's own default accepts the names of private networks, such as 10.evil.example
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{LOOPBACK},{LOOPBACK}:*,localhost,localhost:*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    }


def find_port(port: int) -> int:
    """Return `port`, or a free one for 0: another server on it would be taken for this one.

    Raises:
        InputError: If the port cannot be used, at `--port`.
    """
    try:
        with socket.create_server((LOOPBACK, port)) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise InputError(
            Diagnostic("bad-port", "--port", f"cannot be used ({error})", port, "a free port, or 0 for any")
        ) from None


def _answers(url: str) -> bool:
    """Return whether the server is ready; a request to the loopback interface never passes through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), opener.open(f"{url}{HEALTH_PATH}", timeout=5):
        return True
    return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers, which are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, number)
            child.wait(_STOP_TIMEOUT_S)
