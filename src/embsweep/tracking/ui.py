"""MLflow's own web interface for the store, on the loopback interface only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.core.redaction import redact
from embsweep.tracking.store import Store, sqlite_file, store_uri

_START_TIMEOUT_S = 90
_STOP_TIMEOUT_S = 10


def ui_command(root: Path, uri: str | None, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """Return the command that serves the store, with one worker, which is enough for one user.

    It does not contain a `uri` with a password, which every user of the machine could read (`ps`); see
    `ui_environment`.
    """
    where = store_uri(root, uri)
    return [
        *(sys.executable, "-m", "mlflow", "ui"),
        *(("--backend-store-uri", where) if redact(where) == where else ()),
        *("--default-artifact-root", str(root.resolve() / "mlruns")),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def ui_environment(root: Path, uri: str | None) -> dict[str, str]:
    """Return the environment variables that `ui_command` needs besides those of this process."""
    return {
        "MLFLOW_BACKEND_STORE_URI": store_uri(root, uri),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def run_ui(
    root: Path,
    uri: str | None,
    *,
    port: int,
    host: str = "127.0.0.1",
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the store until Ctrl-C; `on_ready` receives the URL once the server answers. Port 0 means any free port.

    Raises InputError at `--port` if the port is taken, and at `tracking.uri` if that is already a server or there is no
    store yet; EmbsweepError with the end of MLflow's log if the server does not start.
    """
    _check_store(root, uri)
    port = choose_port(port, host)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(  # noqa: S603 - our own command
            ui_command(root, uri, port, host=host),
            cwd=root,
            env=os.environ | ui_environment(root, uri),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which then ends the child with its workers
        )
        try:
            with _terminated_as_interrupted():
                url = f"http://{host}:{port}"
                _await_answer(url, child, log)
                on_ready(url)
                child.wait()
        except KeyboardInterrupt:
            pass
        finally:
            _stop(child)


def runs_url(url: str, store: Store) -> str:
    """Return the URL of the store's runs. MLflow 3.17 shows its pages for chat models without this parameter."""
    return f"{url}/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning"


def choose_port(port: int, host: str = "127.0.0.1") -> int:
    """Return `port` if it is free, or a free one for 0. Raises InputError at `--port` otherwise."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                Diagnostic("bad-port", "--port", f"cannot be used ({error})", port, "a free port, or 0 for any")
            ) from None
        return int(probe.getsockname()[1])


def _check_store(root: Path, uri: str | None) -> None:
    if uri is not None and uri.startswith(("http://", "https://")):
        raise InputError(
            Diagnostic(
                "not-local", "tracking.uri", "is a server with its own interface: open it in a browser", redact(uri)
            )
        )
    where = store_uri(root, uri)
    file = sqlite_file(where)
    if file is not None and not file.is_file():
        raise InputError(
            Diagnostic("missing-file", "tracking.uri", "there is no store yet", where, hint="run a sweep first")
        )


def _await_answer(url: str, child: subprocess.Popen[bytes], log: IO[str]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        try:
            with opener.open(f"{url}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    log.seek(0)
    last_lines = redact("\n".join(log.read().splitlines()[-8:]))
    raise EmbsweepError(f"the MLflow interface did not start at {url}:\n{last_lines}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM and SIGINT raise KeyboardInterrupt in the main thread, so that the server ends with this process.

    SIGINT needs it too: a process started in the background by a script (`&`) ignores SIGINT by default.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {sign: signal.signal(sign, signal.default_int_handler) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers, which are in a process group of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
