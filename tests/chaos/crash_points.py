"""Moments at which a process can die, counted: whatever changes the disk, inside a named part of the sweep."""

import os
import signal
import sys
import threading

CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})


class CrashPoints:
    """Counts what each part of a sweep does to the disk; `aim` makes the process act at one of these moments.

    A part is entered by calls of what was `watch`ed; the innermost one counts, each thread has its own.
    """

    def __init__(self):
        self.counts = {}
        self._parts = threading.local()
        self.at_each = None
        self._aim = None
        self._lock = threading.Lock()
        self._is_inside = threading.local()

    def crash_at(self, part, number, act=None):
        """At the `number`-th moment of `part` (or of `any`) call `act`, or die."""
        self._aim = (part, number, act or (lambda: os.kill(os.getpid(), signal.SIGKILL)))

    def install(self):
        """Listen: to Python's own audit events, to syncs and to commits of any database."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        sys.addaudithook(self._hear)
        sync = os.fsync

        def fsync(descriptor):
            self.pass_by("fsync")
            sync(descriptor)

        os.fsync = fsync
        event.listen(Engine, "commit", lambda _: self.pass_by("commit"))

    def watch(self, owner, name, part):
        """Calls of `owner.name` are inside `part` from now on."""
        real = getattr(owner, name)

        def call(*args, **kwargs):
            stack = self._stack()
            stack.append(part)
            try:
                return real(*args, **kwargs)
            finally:
                stack.pop()

        setattr(owner, name, call)

    def pass_by(self, what):
        """One moment."""
        part = (self._stack() or ["start"])[-1]
        with self._lock:
            for name in (part, "any"):
                self.counts[name] = self.counts.get(name, 0) + 1
            is_it = self._aim is not None and any(self._aim[:2] == (name, self.counts[name]) for name in (part, "any"))
        if self.at_each is not None and what in ("fsync", "os.rename", "os.rmdir"):
            self.at_each()
        if is_it:
            self._aim[2]()

    def _hear(self, name, args):
        if name == "open":
            if not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif name not in CHANGES:
            return
        if getattr(self._is_inside, "yes", False):
            return
        self._is_inside.yes = True
        try:
            self.pass_by(name)
        finally:
            self._is_inside.yes = False

    def _stack(self):
        if not hasattr(self._parts, "stack"):
            self._parts.stack = [] if threading.current_thread() is threading.main_thread() else ["publisher"]
        return self._parts.stack
