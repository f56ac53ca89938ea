"""A process that dies in the midst of its writes, within the process of the test: nothing it does later has an effect.

A moment is whatever changes the disk: a file opened to be written, a folder made, a sync, a name taken, something
removed, and the exchange of two names.
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
    """What a SIGKILL is to a process: nothing of the trial's own handles it, and nothing that does changes the disk."""


class _Life:
    def __init__(self, folder, crash_points):
        self._folder, self._left, self._thread = str(folder), crash_points, threading.get_ident()

    def hear(self, event, arguments):
        if event in CHANGES and (event != "open" or _is_for_writing(arguments, self._folder)):
            self.pass_by()

    def pass_by(self):
        if threading.get_ident() != self._thread:
            return
        if self._left == 0:
            raise Died
        self._left -= 1


_lives = []


def _hear(event, arguments):
    for life in _lives:
        life.hear(event, arguments)


def _is_for_writing(arguments, folder):
    path, _, flags = arguments
    return str(path).startswith(folder) and bool(flags & (os.O_WRONLY | os.O_RDWR))


sys.addaudithook(_hear)


@contextmanager
def life_of(crash_points, folder, *, can_exchange=True):
    """Inside, whoever writes to `folder` dies at its `moments`-th change of the disk (0 is the first): `Died`.

    A file system that cannot exchange two names has `can_exchange` False.
    """
    life, sync, exchange = _Life(folder, crash_points), os.fsync, folders._exchange

    def sync_aloud(descriptor):
        life.pass_by()
        sync(descriptor)

    def exchange_aloud(*names):
        life.pass_by()
        return can_exchange and exchange(*names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync_aloud)
        patch.setattr(folders, "_exchange", exchange_aloud)
        _lives.append(life)
        try:
            yield
        finally:
            _lives.remove(life)
