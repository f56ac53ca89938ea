"""Where runs are kept: a local sqlite store beside its artifacts, or a given MLflow server."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.redaction import redact
from embsweep.tracking.connection import connect, knock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_SQLITE = "sqlite:///"


class StoreUnreachable(InputError):
    """Nothing answers at `tracking.uri`, or its database cannot be used."""


@dataclass(frozen=True)
class Store:
    """A tracking store whose database and experiment exist. `artifact_root` is the experiment's own folder.

    `str(store)` and `repr(store)` never show a password.
    """

    uri: str = field(repr=False)
    experiment: str
    experiment_id: str
    artifact_root: str

    def __str__(self) -> str:
        return redact(self.uri)

    def client(self) -> MlflowClient:
        """A client of this store and its registry; cheap, and safe to keep."""
        return connect(self.uri)


def fetch_artifacts(store: Store, location: str, folder: Path) -> Path:
    """Copy what lies at an artifact location into `folder`, which is created; returns the copy's own folder.

    Ask for locations, never for `models:/…`: MLflow resolves those in a process-global store, and where none is
    set it creates one in the working directory.
    """
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True)
    return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=store.uri))


def store_uri(root: Path, uri: str | None) -> str:
    """`uri`, or MLflow's own local default as an absolute URI: `mlflow.db` in `root`."""
    if uri is not None:
        return uri
    return _file_uri(root.resolve() / "mlflow.db")


def _file_uri(path: Path) -> str:
    return _SQLITE + str(path).replace("%", "%25").replace("?", "%3F")  # SQLAlchemy reads it as a URL


def sqlite_file(uri: str) -> Path | None:
    """The file of a `sqlite:///` URI, None for any other."""
    return Path(unquote(uri.removeprefix(_SQLITE).split("?")[0])) if uri.startswith(_SQLITE) else None


def open_store(root: Path, *, uri: str | None, experiment: str, is_first: bool = False) -> Store:
    """Create what is missing (database, tables, experiment) and return the store.

    Call it in the driver before any trial: concurrent first writers crash in MLflow's migrations.
    For a local database several may call it at once: each waits until the others have made the tables.
    Takes about 2 s for a new database. Raises StoreUnreachable when nothing answers there; where `is_first`, the first
    contact, a server that does not answer is given up within about ten seconds.
    """
    where = store_uri(root, uri)
    try:
        if is_first:
            knock(where)
        with _migration_lock(sqlite_file(where)):
            _create_database(sqlite_file(where))
            _check_database(where)
            found = _find_or_create(connect(where), experiment, _artifact_location(root, where, experiment))
    except Exception as error:  # SQLAlchemy, requests, drivers and MLflow each raise their own
        raise StoreUnreachable(_unreachable(where, error)) from None
    if found.lifecycle_stage != "active":
        raise InputError(
            Diagnostic(
                "deleted-experiment",
                "tracking.experiment",
                "this experiment was deleted",
                experiment,
                hint="restore it or choose another",
            )
        )
    return Store(where, experiment, found.experiment_id, found.artifact_location)


def _find_or_create(client: MlflowClient, experiment: str, location: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(experiment)) is not None:
        return found
    kind = {"mlflow.experimentKind": "custom_model_development"}  # not the interface for chat models
    try:
        client.create_experiment(experiment, artifact_location=location, tags=kind)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another sweep that starts on the same server
            raise
    made = client.get_experiment_by_name(experiment)
    assert made is not None  # an experiment that is deleted is still found
    return made


@contextmanager
def _migration_lock(database: Path | None) -> Iterator[None]:
    """Inside, no other process makes tables in the same file: MLflow's migrations crash when two run at once."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _create_database(database: Path | None) -> None:
    """Make the tables of a new database under another name: where a crash breaks that off, MLflow never mends it."""
    if database is None or database.exists():
        return
    fresh = database.with_name(f".{database.name}.new")
    for leftover in database.parent.glob(f"{fresh.name}*"):  # and its journal
        leftover.unlink()
    connect(_file_uri(fresh)).search_experiments(max_results=1)
    fresh.replace(database)


def _check_database(uri: str) -> None:
    """Connect once: MLflow itself retries a dead database for 100 s, with warnings."""
    if uri.startswith(("http://", "https://", "databricks")):
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _artifact_location(root: Path, uri: str, experiment: str) -> str | None:
    """Absolute folder for a database store, None (the server's choice) for a server.

    Absolute, so that a plain `mlflow ui` in `root` finds the artifacts whatever its own default is.
    """
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    file = sqlite_file(uri)
    base = file.parent if file is not None else root
    folder = re.sub(r"[^A-Za-z0-9_.-]", "_", experiment).lstrip(".") or "_"
    if folder != experiment:
        folder += "-" + hashlib.sha256(experiment.encode()).hexdigest()[:8]
    path = base.resolve() / "mlruns" / folder
    return path.as_uri() if set("%?#") & set(str(path)) else str(path)  # MLflow unquotes plain paths too


def _unreachable(uri: str, error: Exception) -> Diagnostic:
    reason = redact(str(error)).splitlines()
    return Diagnostic(
        "unreachable",
        "tracking.uri",
        f"no MLflow store can be used there ({type(error).__name__}: {reason[0][:300] if reason else ''})",
        redact(uri),
        "null (a local mlflow.db), http(s)://… of a running server, or a database URI such as sqlite:////…/mlflow.db",
        "start it, or begin without it: tracking.must_answer=false keeps what it must be told until it is back",
    )
