"""The ledger's database: sqlite that waits for others, and says in plain words why it cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, OperationalError

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError

SQLITE_BUSY_TIMEOUT_S = 90.0
"""How long another program may hold the database."""


class LedgerUnavailable(CodedError):
    """The ledger cannot be written or read: a full disk, a lock that stays. What it holds is as it was before."""


def open_storage(path: Path) -> RDBStorage:
    """A long timeout: a reader (`embsweep status`, a dashboard, a backup) may hold the file for a while.

    A transaction that writes says so when it begins: one that read first would not be let wait for another's end.
    """
    options = {"timeout": SQLITE_BUSY_TIMEOUT_S, "isolation_level": "IMMEDIATE"}
    with _translate_errors(path):
        storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": options})
    event.listen(storage.engine, "handle_error", partial(_raise_unavailable, path))
    return storage


def forget_reports(storage: BaseStorage, trial_id: int) -> None:
    """Take back every intermediate value of a trial that is open, which Optuna has no call for.

    The last one that is there becomes the value of a stopped trial, and TPE ranks stopped trials by it.
    """
    backend = getattr(storage, "_backend", storage)  # behind a cache that holds finished trials only
    if isinstance(backend, RDBStorage):
        with backend.engine.begin() as connection:
            connection.execute(text("DELETE FROM trial_intermediate_values WHERE trial_id = :id"), {"id": trial_id})
    elif isinstance(backend, InMemoryStorage):
        backend.get_trial(trial_id).intermediate_values = {}
    else:
        raise TypeError(f"{type(backend).__name__}: not a storage of the ledger")


def _raise_unavailable(path: Path, context: ExceptionContext) -> None:
    """SQLAlchemy asks what to raise: Optuna would make "invalid data" of a full disk."""
    if isinstance(context.original_exception, sqlite3.OperationalError):
        raise _to_error(path, context.original_exception) from None


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """The same while the tables are made or looked for, which is over before anybody can listen."""
    try:
        yield
    except OperationalError as error:
        raise _to_error(path, error.orig) from None
    except DatabaseError as error:
        ways = "Put a copy of it back, or begin anew with sweep.fresh=true."
        raise LedgerUnavailable("unreadable", f"{path}: is no readable ledger ({error.orig}). {ways}") from None


def _to_error(path: Path, error: BaseException | None) -> LedgerUnavailable:
    problem = str(error).splitlines()[0] if str(error) else type(error).__name__
    ways: tuple[tuple[tuple[str, ...], Code, str], ...] = (
        (("full", "disk i/o"), "not-enough-room", "free some space on that disk"),
        (("locked", "busy"), "locked", f"another program has held it for {SQLITE_BUSY_TIMEOUT_S:.0f} s, end that"),
    )
    code, way = next(
        ((code, way) for signs, code, way in ways if any(sign in problem for sign in signs)),
        ("not-writable", "make that file writable"),
    )
    said = (
        f"{path}: the ledger cannot be used ({problem}). {way[0].upper()}{way[1:]}; what is finished is kept, and the "
        "same command goes on."
    )
    return LedgerUnavailable(code, said)
