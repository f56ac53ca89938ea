"""Exit on SIGINT, SIGTERM and SIGHUP: gracefully within `SHUTDOWN_TIMEOUT_S`, else at once, as on a second signal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]

SHUTDOWN_TIMEOUT_S = 25.0
"""Limit of a graceful exit: batch systems send SIGKILL after about thirty seconds."""

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"


class Shutdown:
    """State of the received signals: `exit_code` is that of the first one, None before it."""

    exit_code: int | None = None


_active: list[Shutdown] = []
"""The state that this process uses, at most one."""


@contextmanager
def handle_signals(say: Callable[[], str]) -> Iterator[Shutdown]:
    """Make SIGTERM and SIGHUP end this process as Ctrl-C does, inside the block.

    A second signal of any kind ends the process and all of its descendants at once, and so does the first one if the
    process has not exited within SHUTDOWN_TIMEOUT_S. It then prints the text that `say` returns. After a signal, this
    stays active until the process ends. Nothing is changed inside another such block, or outside the main thread, which
    alone may install signal handlers. A signal other than SIGINT that is ignored (`nohup`) stays ignored.

    Args:
        say: Returns the last words of an exit that is not graceful.
    """
    shutdown = Shutdown()
    if _active or threading.current_thread() is not threading.main_thread():
        yield _active[0] if _active else shutdown
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python's own handlers wait for the main thread, which may be in C code for minutes, and Tune replaces ours.
    # The bytes of the wakeup descriptor are written at once, whichever handler is installed.
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ignored = [number for number in _FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in _FORWARDED if number not in ignored}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a script's `&`: SIGTERM would be ignored there, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, args=(reader, shutdown, say), name="embsweep-signals", daemon=True).start()
    _active.append(shutdown)
    try:
        yield shutdown
    except KeyboardInterrupt:
        shutdown.exit_code = shutdown.exit_code or 128 + signal.SIGINT  # the thread may be slightly later
        raise
    finally:
        if shutdown.exit_code is None:
            _active.clear()
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(earlier)
            os.close(writer)


def _watch(reader: int, shutdown: Shutdown, say: Callable[[], str]) -> None:
    """Wait for a signal, and interrupt the main thread; exit at a second one, or when the time is over."""
    if (first := _read_signal(reader)) is None:
        os.close(reader)
        return
    shutdown.exit_code = 128 + first
    if first != signal.SIGINT:
        # it runs the handler of Ctrl-C, Tune's too, and writes a byte of its own
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        _read_signal(reader)
    limit = threading.Timer(SHUTDOWN_TIMEOUT_S, lambda: _exit_now(128 + first, say()))
    limit.daemon = True
    limit.start()
    _read_signal(reader)
    _exit_now(128 + first, say())


def _read_signal(reader: int) -> int | None:
    """Return the next signal of the pipe that ends a process; None once its other end is closed."""
    while received := os.read(reader, 1):
        if received[0] in (signal.SIGINT, *_FORWARDED):
            return received[0]
    return None


def _exit_now(code: int, words: str) -> None:
    """Kill all descendants of this process and exit, without cleanup; only `words` are written, to stderr."""
    with contextlib.suppress(OSError):
        os.write(2, ((_SHOW_CURSOR if os.isatty(2) else "") + words + "\n").encode(errors="replace"))
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(code)
