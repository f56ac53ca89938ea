"""Outbox: a persistent queue of the entries that are not yet delivered to MLflow, in order."""

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
"""One record for MLflow, as plain JSON; NaN and infinities are kept."""

_DIGEST_CHARS = 16
_ENTRIES, _CURSOR = "entries.jsonl", "delivered"


def count_waiting(folder: Path) -> int:
    """Count the undelivered entries of the outbox in `folder`, without opening it; another process may have it open."""
    path = folder / _ENTRIES
    data = path.read_bytes() if path.is_file() else b""
    start, _ = _read_cursor(folder / _CURSOR, data)
    return data.count(b"\n", start)


class Outbox:
    """Queue on disk that survives its process: one line per entry, each prefixed with its hash.

    An entry is on disk when `append` returns, and counts as delivered after `advance`. After a crash between delivery
    and `advance` it is delivered again, so deliveries must be idempotent. Only one process at a time may have the
    outbox open; its threads may share it. `unreadable` is the number of corrupt lines; they are moved to the file
    `corrupt`. `appended` counts all entries ever appended, delivered ones included: if it is lower than a count
    recorded earlier, entries are lost. `refused` is the dead-letter file: entries that MLflow rejects permanently, each
    with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = folder / _ENTRIES
        self._cursor = folder / _CURSOR
        self.refused = folder / "refused.jsonl"
        self.corrupt = folder / f"corrupt-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
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
        """Append an entry. Raises OSError if the disk is full; the outbox is then unchanged."""
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
        """Return the oldest undelivered entry; wait for one up to `timeout_s`, then return None."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            return self._waiting[0][1] if self._waiting else None

    def advance(self) -> None:
        """Mark the oldest entry as delivered. If the disk is too full for that, the next process delivers it again."""
        with self._changed:
            end, _ = self._waiting.popleft()
            with contextlib.suppress(OSError):
                self._write_cursor(end, self._gone)
            self._changed.notify_all()

    def refuse(self, reason: str) -> None:
        """Move the oldest entry to the dead-letter file, with the reason. Raises OSError if that cannot be written."""
        with self._changed:
            _append(self.refused, _to_line({"reason": reason, "entry": self._waiting[0][1]}))
        self.advance()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until everything is delivered; return False after `timeout_s`."""
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
            atomic_write(self.corrupt, b"".join(bad))
        if bad or start:
            self._drop_delivered(gone, b"".join(line for line, _ in good))
        for line, entry in good:
            self._put(line, entry)
        self.appended = self._gone + len(good)

    def _drop_delivered(self, gone_before: int, waiting: bytes) -> None:
        """Rewrite the entries without the delivered ones.

        The number of delivered entries is written last: after a crash in between it is too low, so that records are
        logged again, and never too high, which would hide a loss.
        """
        self._write_cursor(0, gone_before)
        atomic_write(self._entries, waiting)
        self._write_cursor(0, self._gone)

    def _put(self, line: bytes, entry: Entry) -> None:
        self._size += len(line)
        self._waiting.append((self._size, entry))

    def _write_cursor(self, end: int, gone: int) -> None:
        atomic_write(self._cursor, b"%d %d" % (end, gone))

    def _cut(self) -> None:
        """Remove what a failed append may have written."""
        if self._entries.exists():
            os.truncate(self._entries, self._size)


def _read_cursor(path: Path, data: bytes) -> tuple[int, int]:
    """Return the offset in `data` after the last delivered entry, and the number of entries removed from the file.

    An impossible offset is replaced by 0; everything in the file is then delivered again.
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
    """Yield each line with its entry, None for a corrupt one."""
    for line in io.BytesIO(data):
        digest, _, text = line.rstrip(b"\n").partition(b" ")
        is_intact = line.endswith(b"\n") and digest == _digest(text)
        yield line, json.loads(text) if is_intact else None
