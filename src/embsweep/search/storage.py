"""The ledger's SQLite database, with a long lock timeout and errors that name cause and fix."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, OperationalError

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError

SQLITE_BUSY_TIMEOUT_S = 90.0
"""Longest time that another program may hold the database's lock, in seconds."""

_WAL_VERSIONS = b"\x02\x02"  # bytes 18 and 19 of a file in write-ahead mode, sqlite.org/fileformat.html
_NEEDS_WRITES = ("readonly database", "no such table")


RESTORE = "Restore a copy, or start over with sweep.fresh=true."
"""What to do about a damaged ledger."""


class LedgerUnavailable(CodedError):
    """Raised if the ledger cannot be read or written: a full disk, a held lock. Its contents are unchanged."""


def open_storage(path: Path) -> RDBStorage:
    """Open the SQLite storage at `path`, and create it if it does not exist.

    The timeout is long, because a reader (`embsweep status`, a dashboard, a backup) may hold the file for a while. A
    transaction takes the write lock when it begins (`IMMEDIATE`): one that first reads and then writes would not wait
    for another writer, but fail at once.

    Raises:
        LedgerUnavailable: If the file is not a ledger, or cannot be read or written; later also by each use of the
            storage.
    """
    connect = partial(sqlite3.connect, path, timeout=SQLITE_BUSY_TIMEOUT_S, isolation_level="IMMEDIATE")
    try:  # the error hook cannot be registered before the tables are created or checked
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})
    except OperationalError as error:
        raise _to_error(path, error.orig) from None
    except DatabaseError as error:
        raise _to_damage(path, error.orig) from None
    event.listen(storage.engine, "handle_error", partial(_raise_unavailable, path))
    return storage


@contextlib.contextmanager
def open_read_only(path: Path) -> Iterator[RDBStorage]:
    """Open the SQLite storage at `path` for reading; neither it nor its folder is changed.

    What SQLite can only read after writing is read from a copy in a temporary folder: the journal of a killed process,
    a file in write-ahead mode (beside which a reader leaves two files), and tables that a killed process has not
    finished creating.

    Raises:
        LedgerUnavailable: As in `open_storage`.
    """
    with tempfile.TemporaryDirectory(prefix="embsweep-ledger-") as folder:
        storage = None if _is_in_write_ahead_mode(path) else _open_in_place(path)
        if storage is None:
            copy = Path(folder, path.name)
            for suffix in ("", "-journal", "-wal"):
                if (source := path.with_name(path.name + suffix)).is_file():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
            storage = open_storage(copy)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _open_in_place(path: Path) -> RDBStorage | None:
    """Return the read-only storage, or None if SQLite or Optuna would have to write first."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    connect = partial(sqlite3.connect, address, uri=True, timeout=SQLITE_BUSY_TIMEOUT_S)
    try:
        with contextlib.closing(connect()) as connection:  # Optuna would hide the error
            connection.execute("SELECT COUNT(*) FROM version_info")
    except sqlite3.OperationalError as error:
        if any(sign in str(error) for sign in _NEEDS_WRITES):
            return None
        raise _to_error(path, error) from None
    except sqlite3.DatabaseError as error:
        raise _to_damage(path, error) from None
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect}, skip_table_creation=True)
    event.listen(storage.engine, "handle_error", partial(_raise_unavailable, path))
    return storage


def _is_in_write_ahead_mode(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20)[18:] == _WAL_VERSIONS


def forget_values(storage: BaseStorage, trial_id: int) -> None:
    """Delete every intermediate value of an open trial, for which Optuna has no method.

    The last of them becomes the value of a stopped trial, and TPE ranks stopped trials by it.

    Args:
        storage: A storage of SQL or in memory.
        trial_id: Optuna's id of the trial.
    """
    if isinstance(storage, RDBStorage):
        with storage.engine.begin() as connection:
            connection.execute(text("DELETE FROM trial_intermediate_values WHERE trial_id = :id"), {"id": trial_id})
    else:
        storage.get_trial(trial_id).intermediate_values = {}


def _raise_unavailable(path: Path, context: ExceptionContext) -> None:
    """Raise LedgerUnavailable from SQLAlchemy's error hook: Optuna would report a full disk as invalid data."""
    if isinstance(context.original_exception, sqlite3.OperationalError):
        raise _to_error(path, context.original_exception) from None


def _to_damage(path: Path, error: BaseException | None) -> LedgerUnavailable:
    return LedgerUnavailable("unreadable", f"{path}: not a readable ledger ({error}). {RESTORE}")


def _to_error(path: Path, error: BaseException | None) -> LedgerUnavailable:
    problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    fixes: tuple[tuple[tuple[str, ...], Code, str], ...] = (
        (("full", "disk i/o"), "not-enough-room", "free some space on that disk"),
        (
            ("locked", "busy"),
            "locked",
            f"another program has held it for {SQLITE_BUSY_TIMEOUT_S:.0f} s, stop that program",
        ),
    )
    code, fix = next(
        ((code, fix) for signs, code, fix in fixes if any(sign in problem for sign in signs)),
        ("not-writable", "make that file writable"),
    )
    message = (
        f"{path}: the ledger cannot be used ({problem}). {fix[0].upper()}{fix[1:]}; finished trials are kept, and the "
        "same command resumes."
    )
    return LedgerUnavailable(code, message)
