"""Storages for ledgers of tests: in memory, or a database file copied from a template."""

import functools
import tempfile
from pathlib import Path

from optuna.storages import InMemoryStorage

from embsweep.search.storage import open_storage


class Memory:
    """A storage in memory that outlives the ledgers opened on it, as a database outlives processes."""

    def __init__(self):
        self._storage = InMemoryStorage()

    def open(self):
        return self._storage


class Database:
    """A database file at `path`; each `open` connects anew, as a new process would."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_empty_database())
        self.path = path

    def open(self):
        return open_storage(self.path)


@functools.cache
def _empty_database():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.db")
        open_storage(path).engine.dispose()
        return path.read_bytes()
