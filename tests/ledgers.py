"""Ledgers of tests, in memory or in a database file copied from a template, and reports of trials."""

import functools
import tempfile
from pathlib import Path

from optuna.storages import InMemoryStorage

from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger
from embsweep.search.storage import open_storage
from embsweep.training.messages import TrialReport

RUNGS = (250, 500, 1000)
"""Steps at which trials are compared: thousandths of the schedule."""


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


def open_search(storage, space, *, stopping="none", first=0.25, recipe=None, **search):
    """Open the ledger of a search at random for 99 trials, or with other settings, in an Optuna storage.

    `stopping` is the kind of stopping or its whole configuration, `first` the fraction at the first evaluation.
    """
    values = {"sampler": "random", "trials": 99, "seed": 0, "recipe_first": recipe is not None, **search}
    config = stopping if isinstance(stopping, StoppingConfig) else StoppingConfig(kind=stopping)
    limits = {"stopping": config, "evaluations": (first, 1.0), "finalists": 1}
    return open_search_ledger(storage, space=space, search=SearchConfig(**values), recipe=recipe, **limits)


def report_at(fraction, value, best=None, best_fraction=None, at=1.0):
    """Return a report at a fraction of the schedule, by default of the best score so far."""
    best, best_fraction = value if best is None else best, best_fraction or fraction
    step = max(1, round(fraction * 4))
    return TrialReport(fraction, step, fraction, value, best, best_fraction, {64: {"map@100": value}}, 0.1, 1e-5, at)


@functools.cache
def _empty_database():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "study.db")
        open_storage(path).engine.dispose()
        return path.read_bytes()
