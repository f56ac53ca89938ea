"""A call in a process of its own: nothing of what this one holds in memory can lend it a hand."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from embsweep.errors import EmbsweepError

P = ParamSpec("P")
R = TypeVar("R")


def run_fresh(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function(*args, **kwargs)` in a newly started interpreter; its exceptions are raised here.

    Function, arguments and result must be picklable; they travel through a pipe, never through a file.
    Raises EmbsweepError if the process dies.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            raise EmbsweepError("the fresh process died (killed, out of memory, or crashed)") from None
