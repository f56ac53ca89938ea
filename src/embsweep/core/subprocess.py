"""Run a function in a newly spawned Python process, which shares no memory with this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from embsweep.core.errors import EmbsweepError

P = ParamSpec("P")
R = TypeVar("R")


def run_in_subprocess(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function(*args, **kwargs)` in a newly spawned interpreter; its exceptions are raised here.

    Function, arguments and result must be picklable; they pass through a pipe, never through a file. The process ends
    with this one, however this one ends, and does not receive SIGINT itself.

    Args:
        function: Function to run.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The result of `function`.

    Raises:
        EmbsweepError: If the process dies.
    """
    context = multiprocessing.get_context("spawn")
    known = set(multiprocessing.active_children())
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_exit_with_parent) as pool:
        try:
            # a terminal sends SIGINT to all processes, and this one ends its own
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                future = pool.submit(function, *args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return future.result()
        except BrokenProcessPool:
            raise EmbsweepError("the subprocess died (killed, out of memory, or crashed)") from None
        except KeyboardInterrupt:  # leaving the context would wait until the work is done
            for process in set(multiprocessing.active_children()) - known:
                process.kill()
            raise


def _exit_with_parent() -> None:
    """End when the parent ends: a pool's process holds both ends of its pipe, and would wait for work forever."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
