"""Session fixtures for what is slow to create and can be shared: MLflow's tables, imports."""

import fcntl
import gc
import importlib
import os
import shutil

import pytest

_LIBRARIES = (
    "mlflow.sentence_transformers",
    "sentence_transformers.sentence_transformer.losses",
    "sentence_transformers.sentence_transformer.trainer",
    "sentence_transformers.sentence_transformer.training_args",
)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory):
    """Path of an MLflow database that has all tables and no rows.

    The migrations take 1.5 s of CPU time, a copy of the file a millisecond. If several processes run the tests, the
    first one creates the file for all of them.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mlflow-template"
    folder.mkdir(exist_ok=True)
    path = folder / "mlflow.db"
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make_database(folder / "new.db")
            (folder / "new.db").replace(path)
    return path


def _make_database(path):
    from embsweep.tracking.connection import connect

    connect(f"sqlite:///{path}").search_experiments(max_results=1)


@pytest.fixture(scope="session")
def seed_storage(mlflow_template):
    """Return `seed(storage)`, which puts an empty `mlflow.db` into a storage folder that has none."""

    def seed(storage):
        storage.mkdir(parents=True, exist_ok=True)
        if not (storage / "mlflow.db").exists():
            shutil.copyfile(mlflow_template, storage / "mlflow.db")

    return seed


@pytest.fixture(scope="session")
def heavy_imports():
    """Import all that a trial imports, and exclude it from garbage collection.

    A trial collects garbage when it ends. Scanning the million objects of the libraries would take a third of the time
    of a small sweep.
    """
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
