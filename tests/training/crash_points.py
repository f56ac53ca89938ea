"""Simulate a process that dies between two writes, inside the process of the test.

A crash point is every change of the disk: opening a file for writing, making a folder, a sync, a rename, a removal, and
the exchange of two names. After the simulated death every further change raises again, so that none has an effect.
"""

import os
import sys
import threading
from contextlib import contextmanager

import pytest

from embsweep.core import files as folders

RENAMES = ("os.rename", "os.remove", "os.rmdir")
CHANGES = (*RENAMES, "os.mkdir", "os.truncate", "open")


class Died(BaseException):
    """Simulates a SIGKILL: the trial does not handle it, and code that handles it cannot change the disk."""


class _CrashPointCounter:
    def __init__(self, folder, crash_point):
        self._folder, self._left, self._thread = str(folder), crash_point, threading.get_ident()

    def on_event(self, event, arguments):
        if event in CHANGES and (event != "open" or _is_for_writing(arguments, self._folder)):
            self.reach_crash_point()

    def reach_crash_point(self):
        if threading.get_ident() != self._thread:
            return
        if self._left == 0:
            raise Died
        self._left -= 1


_active = []


def _on_audit_event(event, arguments):
    for counter in _active:
        counter.on_event(event, arguments)


def _is_for_writing(arguments, folder):
    path, _, flags = arguments
    return str(path).startswith(folder) and bool(flags & (os.O_WRONLY | os.O_RDWR))


sys.addaudithook(_on_audit_event)


@contextmanager
def die_at(crash_point, folder, *, can_exchange=True):
    """Raise `Died` inside the block before change number `crash_point` of the disk (0 is the first).

    Only this thread's changes are counted, and only files opened in `folder`. `can_exchange=False` simulates a file
    system that cannot exchange two names.
    """
    counter, sync, exchange = _CrashPointCounter(folder, crash_point), os.fsync, folders._exchange

    def counted_sync(descriptor):
        counter.reach_crash_point()
        sync(descriptor)

    def counted_exchange(*names):
        counter.reach_crash_point()
        return can_exchange and exchange(*names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted_sync)
        patch.setattr(folders, "_exchange", counted_exchange)
        _active.append(counter)
        try:
            yield
        finally:
            _active.remove(counter)
