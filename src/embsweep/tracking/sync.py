"""Keep MLflow equal to the ledger: a thread writes the latest state of each run, and waits while MLflow is unavailable.

The ledger holds everything, so nothing is queued on disk. After a restart all states are compared with the digests that
the runs in MLflow carry, and those that differ are written. A lost database, an outage and a wrong clock therefore need
no treatment of their own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from embsweep.core.errors import EmbsweepError, TrackingUnavailable, describe_exception
from embsweep.core.files import atomic_write
from embsweep.tracking.connection import is_unavailable
from embsweep.tracking.runs import RunKey, RunState, RunWriter

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 120.0
"""Seconds that the end of a sweep waits for MLflow while it does not answer."""

CLOSE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_POLL_S = 0.5
_UP = math.inf  # time of the last outage's beginning, while there is none


class MlflowSync:
    """The states that MLflow must have, and a thread that writes them while the context is entered.

    Args:
        connect: Opens the sweep's runs; called in the thread, again after each failure.
        say: Receives messages for the user, also from the thread.
        save: Receives the digest of each run that MLflow has, after each change.
    """

    def __init__(
        self,
        connect: Callable[[], RunWriter],
        say: Callable[[str], None],
        save: Callable[[Mapping[RunKey, str]], None] = lambda digests: None,
    ) -> None:
        self._connect, self._say, self._save = connect, say, save
        self._writer: RunWriter | None = None
        self._is_current = False
        self._wanted: dict[RunKey, RunState] = {}
        self._written: dict[RunKey, str] = {}
        self._rejected: dict[RunKey, str] = {}
        self._changed = threading.Condition()
        self._is_stopped = threading.Event()
        self._down_since = _UP
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="embsweep-mlflow", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(CLOSE_TIMEOUT_S, at_most_s=CLOSE_TIMEOUT_S)
        self._is_stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)

    def put(self, *states: RunState) -> None:
        """Replace the states of runs; the thread writes the latest one of each run."""
        with self._changed:
            self._wanted |= {state.key: state for state in states}
            self._changed.notify_all()

    @property
    def rejected(self) -> int:
        """Number of runs whose latest state MLflow has refused."""
        with self._changed:
            return sum(self._rejected.get(key) == state.digest for key, state in self._wanted.items())

    @property
    def pending(self) -> int:
        """Number of runs whose latest state is not in MLflow."""
        with self._changed:
            return len(self._pending())

    def wait(self, patience_s: float, *, at_most_s: float = math.inf) -> bool:
        """Wait until MLflow has every state, and return whether it does.

        Args:
            patience_s: Seconds to wait while MLflow does not answer.
            at_most_s: Longest time to wait altogether.
        """
        started = time.monotonic()
        with self._changed:
            while self._pending():
                now = time.monotonic()
                if now - max(started, self._down_since) > patience_s or now - started > at_most_s:
                    return False
                self._changed.wait(_POLL_S)
        return True

    def flush(self, patience_s: float | None = None) -> RunWriter:
        """Wait until MLflow has every state, and return the writer of the sweep's runs.

        Args:
            patience_s: Seconds to wait while MLflow does not answer, 120 by default.

        Raises:
            TrackingUnavailable: If MLflow has not answered for `patience_s` seconds.
        """
        if not self.wait(FLUSH_TIMEOUT_S if patience_s is None else patience_s) or self._writer is None:
            raise TrackingUnavailable(
                f"MLflow does not answer ({self._problem}). Everything is in the ledger; {self.pending} runs are not "
                "in MLflow yet. Once it answers, the same command writes them and goes on."
            )
        return self._writer

    def run_id(self, key: RunKey) -> str:
        """Return the id of a run after all states are written.

        Raises:
            TrackingUnavailable: If MLflow does not answer; see `flush`.
            EmbsweepError: If MLflow has rejected the run.
        """
        found = self.flush().run_ids.get(key)
        if found is None:
            raise EmbsweepError(f"MLflow has no run for {key[0]} {key[1]}; the log file of the sweep has its answer")
        return found

    def _pending(self) -> list[RunState]:
        return [
            state
            for key, state in self._wanted.items()
            if state.digest not in (self._written.get(key), self._rejected.get(key))
        ]

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            with self._changed:
                if not (pending := self._pending()):
                    self._changed.wait(_POLL_S)
            if pending and not self._is_stopped.is_set():
                self._attempt(pending[0])

    def _attempt(self, state: RunState) -> None:
        was_current = self._is_current
        try:
            if not was_current:
                self._reconnect()
                state = next(iter(self._pending()), state)  # MLflow may have lost the run that must come first
            self._write(state)
        except Exception as error:  # the thread must go on, whatever MLflow or its libraries raise
            log.exception("the state of run %s was not written to MLflow", state.name)
            self._is_current = False  # the next attempt first looks up what MLflow has
            if is_unavailable(error):
                self._wait_for_answer(describe_exception(error))
            elif not was_current:
                self._reject(state, describe_exception(error))
            return
        if self._down_since != _UP:
            self._down_since = _UP
            self._say(f"MLflow answers again; {self.pending} runs are pending.")

    def _reconnect(self) -> None:
        self._writer = self._connect()
        self._set_written(self._writer.digests)

    def _write(self, state: RunState) -> None:
        if self._writer is not None and self._written.get(state.key) != state.digest:
            self._writer.write(state)
            self._set_written({**self._written, state.key: state.digest})
        self._is_current = True

    def _set_written(self, digests: Mapping[RunKey, str]) -> None:
        with self._changed:
            self._written = dict(digests)
            self._changed.notify_all()
        self._save(digests)

    def _reject(self, state: RunState, reason: str) -> None:
        """Leave out a state that MLflow has refused with a new view of its runs; tell the user once for each run."""
        with self._changed:
            is_new = state.key not in self._rejected
            self._rejected[state.key] = state.digest
            self._changed.notify_all()
        if is_new:
            self._say(f"MLflow rejected {state.name} ({reason}). It is in the ledger; `embsweep sync` tries it again.")

    def _wait_for_answer(self, problem: str) -> None:
        self._problem = problem
        now = time.monotonic()
        if self._down_since == _UP:
            self._down_since = now
            self._say(f"MLflow does not answer ({problem}); the sweep continues, its ledger holds everything.")
        self._is_stopped.wait(min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, now - self._down_since)))


def save_digests(path: Path, digests: Mapping[RunKey, str]) -> None:
    """Write the digest of each run that MLflow has to a file, for `count_pending`."""
    text = json.dumps([[role, number, digest] for (role, number), digest in digests.items()])
    with contextlib.suppress(OSError):  # a full disk: only the count of `embsweep status` depends on it
        atomic_write(path, text.encode())


def count_pending(path: Path, states: Iterable[RunState]) -> int:
    """Return the number of runs whose state MLflow has not got, according to the file of `save_digests`.

    Args:
        path: The file; without it, MLflow has nothing.
        states: The states that MLflow must have.
    """
    try:
        written = {(role, number): digest for role, number, digest in json.loads(path.read_text())}
    except (OSError, ValueError, TypeError, RecursionError):
        written = {}
    return sum(written.get(state.key) != state.digest for state in states)
