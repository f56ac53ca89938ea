"""Leaving when told to: in order if that takes seconds, at once on a second Ctrl-C or where order takes too long."""

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
"""How long an orderly end may take: batch systems send SIGKILL after about thirty seconds."""

_NOTICED_S = 0.5
_SHOW_CURSOR = "\x1b[?25h"


class ShutdownHandler:
    """What has come so far. `code` is the exit code that it stands for, None before the first signal."""

    def __init__(self, say: Callable[[], str]) -> None:
        self.code: int | None = None
        self.is_noticed = threading.Event()
        self._say = say
        self._lock = threading.Lock()
        self._echoes = 0
        self._is_passed_on = False

    def forward_sigterm(self, *_: object) -> None:
        """Make one SIGINT of the first SIGTERM: all that waits for Ctrl-C, Tune too, hears of it."""
        with self._lock:
            if self._is_passed_on or self.code is not None:
                return
            self._is_passed_on = True
            self._echoes += 1
        os.kill(os.getpid(), signal.SIGINT)

    def on_signal(self, number: int) -> None:
        """A signal has come: the first one is left to whoever handles it, for PATIENCE_S; the next one ends it all."""
        if number == signal.SIGTERM:
            self.forward_sigterm()
        with self._lock:
            is_echo = number == signal.SIGINT and self._echoes > 0
            self._echoes -= is_echo
            is_first = self.code is None
            self.code = self.code or 128 + number
        self.is_noticed.set()
        if is_first:
            threading.Thread(target=self._force_exit_later, daemon=True).start()
        elif not is_echo:
            exit_now(self.code, self._say())

    def exit_code(self) -> int:
        """The exit code, for whom a KeyboardInterrupt has reached: the signal's own thread may be a moment behind."""
        self.is_noticed.wait(_NOTICED_S)
        return self.code or 128 + signal.SIGINT

    def _force_exit_later(self) -> None:
        time.sleep(SHUTDOWN_TIMEOUT_S)
        exit_now(self.code or 1, self._say())


_watches: list[ShutdownHandler] = []
"""The watch of this process, if there is one."""


@contextmanager
def handle_signals(say: Callable[[], str]) -> Iterator[ShutdownHandler]:
    """Inside, SIGTERM ends this process as Ctrl-C does, and a second one of either ends it at once.

    So does a first one that nobody has followed for PATIENCE_S. `say` gives the last words then. Once a signal has
    come, the watch lasts until the process is gone. Inside another watch, and where this is not the main thread, which
    alone may ask for signals, nothing is changed.
    """
    shutdown = ShutdownHandler(say)
    if _watches or threading.current_thread() is not threading.main_thread():
        yield _watches[0] if _watches else shutdown
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python's own handlers wait for the main thread, which may be in C for minutes; and Tune puts one in place of ours.
    # These bytes are written at once, whoever handles the signal.
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
    """Have SIGINT raise KeyboardInterrupt, also in a process that was started deaf to it.

    A shell without job control, as every script is, starts what it sends to the background so (POSIX, "Asynchronous
    Lists"); SIGTERM, which is passed on as SIGINT, would be lost there too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_now(code: int, words: str) -> None:
    """End this process and all that it has started, now. Nothing is written but `words`, on stderr."""
    with contextlib.suppress(OSError):
        os.write(2, ((_SHOW_CURSOR if os.isatty(2) else "") + words + "\n").encode(errors="replace"))
    for pid in find_descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os._exit(code)


def find_descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and those that they have; on a system without /proc none are found."""
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
    """Hand on what comes, until the other end is closed."""
    while received := os.read(reader, 1):
        if received[0] in (signal.SIGINT, signal.SIGTERM):
            shutdown.on_signal(received[0])
    os.close(reader)
