"""A call in a process of its own: nothing of what this one holds in memory can lend it a hand."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from embsweep.core.errors import EmbsweepError

P = ParamSpec("P")
R = TypeVar("R")


def run_in_subprocess(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function(*args, **kwargs)` in a newly started interpreter; its exceptions are raised here.

    Function, arguments and result must be picklable; they travel through a pipe, never through a file. The process
    ends with this one, whatever ends it, and hears no Ctrl-C of its own. Raises EmbsweepError if it dies.
    """
    context = multiprocessing.get_context("spawn")
    known = set(multiprocessing.active_children())
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_exit_with_parent) as pool:
        try:
            with _block_sigint():
                future = pool.submit(function, *args, **kwargs)
            return future.result()
        except BrokenProcessPool:
            raise EmbsweepError("the fresh process died (killed, out of memory, or crashed)") from None
        except KeyboardInterrupt:  # leaving the context would wait until the work is done
            for process in set(multiprocessing.active_children()) - known:
                process.kill()
            raise


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Inside, a process that is started never hears SIGINT: a terminal sends it to all, and we end ours ourselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with_parent() -> None:
    """A pool's process waits for work for ever, and holds both ends of the pipe on which it waits."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
