"""Publisher: a thread that sends the outbox's entries to MLflow, and waits while MLflow does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from embsweep.core.redaction import redact
from embsweep.tracking.connection import is_unavailable
from embsweep.tracking.outbox import Entry, Outbox

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_POLL_S = 0.5


class OutboxPublisher:
    """Delivery of entries in order, one at a time, until it is stopped.

    It waits during an outage, and moves an entry that MLflow rejects permanently to the dead-letter file. `say`
    receives a message in both cases, from the publisher's thread.
    """

    def __init__(self, outbox: Outbox, deliver: Callable[[Entry], None], say: Callable[[str], None]) -> None:
        self._outbox = outbox
        self._publish = deliver
        self._say = say
        self._is_stopped = threading.Event()
        self._down_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="embsweep-publisher", daemon=True)
        self.message: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop delivering. Wait up to `timeout_s` for a request in progress, then abandon it."""
        self._is_stopped.set()
        self._thread.join(timeout_s)

    def wait(self, patience_s: float) -> bool:
        """Wait until everything is delivered; return False once MLflow has not answered for `patience_s`."""
        started = time.monotonic()
        while not self._outbox.wait_empty(_POLL_S):
            down_since = self._down_since
            if down_since is not None and time.monotonic() - max(started, down_since) > patience_s:
                return False
        return True

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            entry = self._outbox.head(_POLL_S)
            if entry is not None and not self._is_stopped.is_set():
                self._attempt(entry)

    def _attempt(self, entry: Entry) -> None:
        try:
            self._publish(entry)
        except Exception as error:  # if the thread ended, no entry would be delivered any more
            log.exception("an entry for MLflow was not delivered")
            if is_unavailable(error) or not self._refuse(_describe(error)):
                self._wait_for_answer(_describe(error))
            return
        self._outbox.advance()
        if self._down_since is not None:
            self._down_since = None
            self._say(f"MLflow answers again; {len(self._outbox)} records are pending.")

    def _refuse(self, reason: str) -> bool:
        """Move the entry to the dead-letter file; return False if the disk is full; the caller then waits."""
        try:
            self._outbox.refuse(reason)
        except OSError:
            return False
        self._say(f"MLflow rejected a record of this sweep ({reason}); kept in {self._outbox.refused}")
        return True

    def _wait_for_answer(self, problem: str) -> None:
        self.message = problem
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
            self._say(f"MLflow does not answer ({self.message}); the sweep continues, its records are kept meanwhile.")
        self._is_stopped.wait(min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, now - self._down_since)))


def _describe(error: Exception) -> str:
    first = next((line for line in redact(str(error)).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:300]}"
