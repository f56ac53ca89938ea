"""MLflow's own web interface for the store, on the loopback interface only."""

from __future__ import annotations

import contextlib
import os
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
from embsweep.core.redaction import redact
from embsweep.tracking.store import existing_store_uri

_LOOPBACK = "127.0.0.1"
_STOP_TIMEOUT_S = 10


def run_ui(root: Path, uri: str | None, *, port: int, on_ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve the store until Ctrl-C, which the caller makes of SIGTERM too (`handle_signals`).

    Args:
        root: Folder of the local store.
        uri: URI of the store's database, None for the local one.
        port: Port of the server; 0 chooses a free one.
        on_ready: Receives the URL once the server answers.

    Raises:
        InputError: If the port is taken, the store is a server itself, or there is no store yet.
        EmbsweepError: If the server ends before it is stopped, with the end of its log.
    """
    if uri is not None and uri.startswith(("http://", "https://")):
        raise InputError(
            Diagnostic("not-local", "tracking.uri", "is a server with its own interface: open it in a browser", uri)
        )
    where, port = existing_store_uri(root, uri, "tracking.uri"), find_port(port)
    url = f"http://{_LOOPBACK}:{port}"
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
    ):
        child = subprocess.Popen(  # noqa: S603 - our own command
            ui_command(root, where, port),
            cwd=root,
            env=os.environ | ui_environment(where),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the child with its workers
        )
        try:
            while child.poll() is None and not _answers(url):
                time.sleep(0.2)
            if child.poll() is None:
                on_ready(url)
            child.wait()
            log.seek(0)
            last_lines = "\n".join(log.read().splitlines()[-8:])
            raise EmbsweepError(f"the MLflow interface at {url} ended:\n{last_lines}")
        finally:
            _stop(child)


def ui_command(root: Path, uri: str, port: int) -> list[str]:
    """Return the command that serves the store, with one worker, which is enough for one user.

    It does not contain a `uri` with a password, which every user of the machine could read (`ps`); see
    `ui_environment`.
    """
    return [
        *(sys.executable, "-m", "mlflow", "ui"),
        *(("--backend-store-uri", uri) if redact(uri) == uri else ()),
        *("--default-artifact-root", str(root.resolve() / "mlruns")),
        *("--host", _LOOPBACK, "--port", str(port), "--workers", "1"),
    ]


def ui_environment(uri: str) -> dict[str, str]:
    """Return the environment variables that `ui_command` needs besides those of this process."""
    return {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def find_port(port: int) -> int:
    """Return `port`, or a free one for 0: another server on it would be taken for this one.

    Raises:
        InputError: If the port cannot be used, at `--port`.
    """
    try:
        with socket.create_server((_LOOPBACK, port)) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise InputError(
            Diagnostic("bad-port", "--port", f"cannot be used ({error})", port, "a free port, or 0 for any")
        ) from None


def _answers(url: str) -> bool:
    """Return whether the server is ready; a request to the loopback interface never passes through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), opener.open(f"{url}/health", timeout=5):
        return True
    return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers, which are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, number)
            child.wait(_STOP_TIMEOUT_S)
