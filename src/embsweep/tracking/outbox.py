"""The outbox: what MLflow has yet to be told, on disk and in order until it has been."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embsweep.core.files import atomic_write

Entry = Mapping[str, Any]
"""One thing to tell, as plain JSON; NaN and infinities are kept."""

_DIGEST_CHARS = 16
_ENTRIES, _CURSOR = "entries.jsonl", "delivered"


def count_waiting(folder: Path) -> int:
    """Entries of the outbox in `folder` that are not delivered; a look at it, also while a process has it open."""
    path = folder / _ENTRIES
    data = path.read_bytes() if path.is_file() else b""
    start, _ = _read_cursor(folder / _CURSOR, data)
    return data.count(b"\n", start)


class Outbox:
    """A queue that outlives its process: one line an entry, each behind its own hash.

    What was appended is on disk when `append` returns. An entry counts as delivered after `advance`; a crash between
    the two means that it is delivered again, so that deliveries must bear repetition. One process at a time has it
    open; its threads may share it. `unreadable` says how many lines were torn or altered; they are set aside in `torn`.
    `appended` counts all entries that there ever were, delivered ones included: fewer than somebody remembers means
    that some are lost. What MLflow will never take is kept in `refused`, each with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = folder / _ENTRIES
        self._cursor = folder / _CURSOR
        self.refused = folder / "refused.jsonl"
        self.torn = folder / f"torn-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Entry]] = deque()
        self._size = self._gone = 0
        self.unreadable = 0
        self.appended = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, entry: Entry) -> None:
        """Put an entry behind all others. OSError where the disk is full: the outbox then is as it was before."""
        line = _to_line(entry)
        with self._changed:
            try:
                _append(self._entries, line)
            except OSError:
                self._cut()
                raise
            self._put(line, entry)
            self.appended += 1
            self._changed.notify_all()

    def head(self, timeout_s: float) -> Entry | None:
        """The oldest entry that is not delivered, waited for; None where none comes within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            return self._waiting[0][1] if self._waiting else None

    def advance(self) -> None:
        """The oldest entry is delivered. A disk too full to say so means that the next process delivers it again."""
        with self._changed:
            end, _ = self._waiting.popleft()
            with contextlib.suppress(OSError):
                self._note(end, self._gone)
            self._changed.notify_all()

    def refuse(self, reason: str) -> None:
        """Keep the oldest entry, which will never be taken, aside with the reason. OSError where it cannot be kept."""
        with self._changed:
            _append(self.refused, _to_line({"reason": reason, "entry": self._waiting[0][1]}))
        self.advance()

    def wait_empty(self, timeout_s: float) -> bool:
        """Whether everything was delivered within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def _open(self) -> None:
        data = self._entries.read_bytes() if self._entries.exists() else b""
        start, gone = _read_cursor(self._cursor, data)
        self._gone = gone + data[:start].count(b"\n")
        lines = list(_read_lines(data[start:]))
        bad = [line for line, entry in lines if entry is None]
        good = [(line, entry) for line, entry in lines if entry is not None]
        if bad:
            self.unreadable = len(bad)
            atomic_write(self.torn, b"".join(bad))
        if bad or start:
            self._drop_delivered(gone, b"".join(line for line, _ in good))
        for line, entry in good:
            self._put(line, entry)
        self.appended = self._gone + len(good)

    def _drop_delivered(self, gone_before: int, waiting: bytes) -> None:
        """Write the entries anew, without those that are delivered.

        Their number is counted last: a crash in between makes the file say too few, which means that records are
        logged again, and never too many, which would hide a loss.
        """
        self._note(0, gone_before)
        atomic_write(self._entries, waiting)
        self._note(0, self._gone)

    def _put(self, line: bytes, entry: Entry) -> None:
        self._size += len(line)
        self._waiting.append((self._size, entry))

    def _note(self, end: int, gone: int) -> None:
        atomic_write(self._cursor, b"%d %d" % (end, gone))

    def _cut(self) -> None:
        """Take back what a failed append may have left."""
        if self._entries.exists():
            os.truncate(self._entries, self._size)


def _read_cursor(path: Path, data: bytes) -> tuple[int, int]:
    """The place in `data` behind the last delivered entry, and how many are in it no more.

    A place that cannot be is 0: everything in the file is delivered once more then.
    """
    try:
        end, gone = (int(word) for word in path.read_bytes().split())
    except (OSError, ValueError):
        return 0, 0
    return end if 0 < end <= len(data) and data[end - 1 : end] == b"\n" else 0, max(gone, 0)


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _to_line(entry: Entry) -> bytes:
    text = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%s %s\n" % (_digest(text), text)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_DIGEST_CHARS].encode()


def _read_lines(data: bytes) -> Iterator[tuple[bytes, Entry | None]]:
    """Each line with its entry, None for one that is torn or altered."""
    for line in io.BytesIO(data):
        digest, _, text = line.rstrip(b"\n").partition(b" ")
        whole = line.endswith(b"\n") and digest == _digest(text)
        yield line, json.loads(text) if whole else None
