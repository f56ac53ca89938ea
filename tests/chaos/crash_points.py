"""Numbered crash points: every change of the disk inside a named part of the sweep."""

import os
import signal
import sys
import threading

CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})


class CrashPoints:
    """Count the disk changes in each part of a sweep; `crash_at` makes the process die or act at one of them.

    A part is entered by calls of the functions given to `watch`. The innermost part counts; each thread has its own.
    """

    def __init__(self):
        self.counts = {}
        self._parts = threading.local()
        self.on_each = None
        self._target = None
        self._lock = threading.Lock()
        self._is_inside = threading.local()

    def crash_at(self, part, number, act=None):
        """Call `act`, or die, at the `number`-th crash point of `part` (or of `any`)."""
        self._target = (part, number, act or (lambda: os.kill(os.getpid(), signal.SIGKILL)))

    def install(self):
        """Hook into Python's audit events, `os.fsync` and the commits of any database."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        sys.addaudithook(self._on_audit_event)
        sync = os.fsync

        def fsync(descriptor):
            self.reach("fsync")
            sync(descriptor)

        os.fsync = fsync
        event.listen(Engine, "commit", lambda _: self.reach("commit"))

    def watch(self, owner, name, part):
        """Wrap `owner.name`: from now on its calls are inside `part`."""
        real = getattr(owner, name)

        def call(*args, **kwargs):
            stack = self._stack()
            stack.append(part)
            try:
                return real(*args, **kwargs)
            finally:
                stack.pop()

        setattr(owner, name, call)

    def reach(self, operation):
        """Count one crash point, and die or act if it is the chosen one."""
        part = (self._stack() or ["start"])[-1]
        with self._lock:
            for name in (part, "any"):
                self.counts[name] = self.counts.get(name, 0) + 1
            is_target = self._target is not None and any(
                self._target[:2] == (name, self.counts[name]) for name in (part, "any")
            )
        if self.on_each is not None and operation in ("fsync", "os.rename", "os.rmdir"):
            self.on_each()
        if is_target:
            self._target[2]()

    def _on_audit_event(self, name, args):
        if name == "open":
            if not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif name not in CHANGES:
            return
        if getattr(self._is_inside, "yes", False):
            return
        self._is_inside.yes = True
        try:
            self.reach(name)
        finally:
            self._is_inside.yes = False

    def _stack(self):
        if not hasattr(self._parts, "stack"):
            self._parts.stack = [] if threading.current_thread() is threading.main_thread() else ["mlflow"]
        return self._parts.stack
