"""Exit on SIGINT and SIGTERM: gracefully within `SHUTDOWN_TIMEOUT_S`, else immediately, as on a second signal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SHUTDOWN_TIMEOUT_S = 25.0
"""Limit of a graceful exit: batch systems send SIGKILL after about thirty seconds."""

_NOTICED_S = 0.5
_SHOW_CURSOR = "\x1b[?25h"


class ShutdownHandler:
    """State of the received signals. `code` is the exit code of the first one, None before it."""

    def __init__(self, say: Callable[[], str]) -> None:
        self.code: int | None = None
        self.is_noticed = threading.Event()
        self._say = say
        self._lock = threading.Lock()
        self._forwarded = 0
        self._is_passed_on = False

    def forward_sigterm(self, *_: object) -> None:
        """Send this process one SIGINT on the first SIGTERM, so that every handler of Ctrl-C, also Tune's, runs."""
        with self._lock:
            if self._is_passed_on or self.code is not None:
                return
            self._is_passed_on = True
            self._forwarded += 1
        os.kill(os.getpid(), signal.SIGINT)

    def on_signal(self, number: int) -> None:
        """Allow SHUTDOWN_TIMEOUT_S for a graceful exit on the first signal; exit immediately on the second."""
        if number == signal.SIGTERM:
            self.forward_sigterm()
        with self._lock:
            is_echo = number == signal.SIGINT and self._forwarded > 0
            self._forwarded -= is_echo
            is_first = self.code is None
            self.code = self.code or 128 + number
        self.is_noticed.set()
        if is_first:
            threading.Thread(target=self._force_exit_later, daemon=True).start()
        elif not is_echo:
            exit_now(self.code, self._say())

    def exit_code(self) -> int:
        """Return the exit code after a KeyboardInterrupt; the thread that reads the signal may be slightly later."""
        self.is_noticed.wait(_NOTICED_S)
        return self.code or 128 + signal.SIGINT

    def _force_exit_later(self) -> None:
        time.sleep(SHUTDOWN_TIMEOUT_S)
        exit_now(self.code or 1, self._say())


_watches: list[ShutdownHandler] = []
"""The active handler of this process, at most one."""


@contextmanager
def handle_signals(say: Callable[[], str]) -> Iterator[ShutdownHandler]:
    """Make SIGTERM end this process as Ctrl-C does, inside the block.

    A second signal of either kind ends the process immediately, and so does the first one if the process has not exited
    within SHUTDOWN_TIMEOUT_S. It then prints the text that `say` returns.
    After a signal, the handler stays active until the process ends. Nothing is changed inside another such block, or
    outside the main thread, which alone may install signal handlers.
    """
    shutdown = ShutdownHandler(say)
    if _watches or threading.current_thread() is not threading.main_thread():
        yield _watches[0] if _watches else shutdown
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python's own handlers wait for the main thread, which may be in C code for minutes, and Tune replaces ours.
    # The bytes of the wakeup descriptor are written immediately, whichever handler is installed.
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGTERM, shutdown.forward_sigterm)
    restore_sigint()
    threading.Thread(target=_read, args=(reader, shutdown), name="embsweep-signals", daemon=True).start()
    _watches.append(shutdown)
    try:
        yield shutdown
    except KeyboardInterrupt:
        shutdown.exit_code()
        raise
    finally:
        if not shutdown.is_noticed.is_set():
            _watches.clear()
            signal.signal(signal.SIGTERM, before)
            signal.set_wakeup_fd(earlier)
            os.close(writer)


def restore_sigint() -> None:
    """Make SIGINT raise KeyboardInterrupt, also in a process that was started with SIGINT ignored.

    A shell without job control, as in every script, starts background processes in this way (POSIX, "Asynchronous
    Lists"). SIGTERM, which is forwarded as SIGINT, would be ignored there, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_now(code: int, words: str) -> None:
    """Kill all descendants of this process and exit, without cleanup; only `words` are written, to stderr."""
    with contextlib.suppress(OSError):
        os.write(2, ((_SHOW_CURSOR if os.isatty(2) else "") + words + "\n").encode(errors="replace"))
    for pid in find_descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os._exit(code)


def find_descendants(pid: int) -> list[int]:
    """Return the descendants of process `pid`; none on a system without /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(entry.read_text("ascii", errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def _read(reader: int, shutdown: ShutdownHandler) -> None:
    """Pass signals from the pipe to the handler until the other end is closed."""
    while received := os.read(reader, 1):
        if received[0] in (signal.SIGINT, signal.SIGTERM):
            shutdown.on_signal(received[0])
    os.close(reader)
