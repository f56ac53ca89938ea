"""The ledger's SQLite database, with a long lock timeout and errors that name cause and fix."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, OperationalError

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError

SQLITE_BUSY_TIMEOUT_S = 90.0
"""Longest time that another program may hold the database's lock, in seconds."""


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
    options = {"timeout": SQLITE_BUSY_TIMEOUT_S, "isolation_level": "IMMEDIATE"}
    try:  # the error hook cannot be registered before the tables are created or checked
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": options})
    except OperationalError as error:
        raise _to_error(path, error.orig) from None
    except DatabaseError as error:
        fixes = "Restore a copy, or start over with sweep.fresh=true."
        raise LedgerUnavailable("unreadable", f"{path}: not a readable ledger ({error.orig}). {fixes}") from None
    event.listen(storage.engine, "handle_error", partial(_raise_unavailable, path))
    return storage


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
