"""Tracking store: a local SQLite database with an artifact folder beside it, or a given MLflow server."""

from __future__ import annotations

import fcntl
import hashlib
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from embsweep.core.errors import Diagnostic, InputError, describe_exception
from embsweep.core.ownership import check_folder, open_lock
from embsweep.core.redaction import redact
from embsweep.tracking.connection import answer_or_none, connect, require_reachable
from embsweep.tracking.views import EXPERIMENT_TAGS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_SQLITE = "sqlite:///"


class StoreUnreachable(InputError):
    """No server answers at `tracking.uri`, or its database cannot be used."""


@dataclass(frozen=True)
class Store:
    """Tracking store whose database and experiment exist.

    `str(store)` and `repr(store)` never contain a password.
    """

    uri: str = field(repr=False)
    experiment: str
    experiment_id: str
    artifacts: Path | None = None
    """Folder of this machine below which a database's artifacts lie; None for a server, which chooses."""

    def __str__(self) -> str:
        return redact(self.uri)

    @cached_property
    def client(self) -> MlflowClient:
        """Client of this store and its registry."""
        return connect(self.uri)


def fetch_artifacts(store: Store, location: str, folder: Path) -> Path:
    """Copy the artifacts at a location into `folder`.

    Args:
        store: Store that the artifacts belong to.
        location: Artifact location; never `models:/…`, which MLflow resolves in a process-global store, creating one
            in the working directory if none is set.
        folder: Folder to create for the copy.

    Returns:
        The folder of the copy, which MLflow may place below `folder`.
    """
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True)
    return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=store.uri))


def store_uri(root: Path, uri: str | None) -> str:
    """Return `uri` or, if it is None, MLflow's local default as an absolute URI: `mlflow.db` in `root`."""
    return _file_uri(root.resolve() / "mlflow.db") if uri is None else uri


def _file_uri(path: Path) -> str:
    return _SQLITE + str(path).replace("%", "%25").replace("?", "%3F")  # SQLAlchemy parses it as a URL


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a `sqlite:///` URI, None for any other."""
    return Path(unquote(uri.removeprefix(_SQLITE).split("?")[0])) if uri.startswith(_SQLITE) else None


def absolute_uri(uri: str) -> str:
    """Return the URI with the absolute path of a `sqlite:///` file, which would otherwise follow the working folder."""
    file = sqlite_file(uri)
    if file is None or "?" in uri or file.is_absolute() or file.name in ("", ":memory:"):
        return uri
    return _file_uri(file.absolute())


def existing_store_uri(root: Path, uri: str | None, key: str) -> str:
    """Return the URI of a store that is not created; see `store_uri`.

    Args:
        root: Folder of the local store.
        uri: URI of a server or database, None for the local store.
        key: Configuration key or option that names the store, for the error.

    Raises:
        InputError: If it is a SQLite database that does not exist, or the local store is in a folder that other users
            may change; the folder's group may.
    """
    where = store_uri(root, uri)
    if uri is None:
        for folder in (root, root / "mlruns"):
            check_folder(folder, is_shared=True)
    file = sqlite_file(where)
    if file is not None and not file.is_file():
        raise InputError(Diagnostic("missing-file", key, "there is no store yet", where, hint="run a sweep first"))
    return where


def open_store(
    root: Path, *, uri: str | None, experiment: str, is_first: bool = False, key: str = "tracking.uri"
) -> Store:
    """Open a store, after creating what is missing: database, tables, experiment. A new database takes about 2 s.

    Call it in the driver before any trial: MLflow's migrations crash if two processes run them at once. Only for a
    local database may several processes call it at once; each waits until the others have created the tables.

    Args:
        root: Folder of the local store, and of the artifacts of a database other than SQLite.
        uri: URI of a server or database, None for the local store.
        experiment: Name of the experiment.
        is_first: Whether this is the first contact; a server that does not answer then fails within about ten seconds.
        key: Configuration key or variable that names the store, for the error.

    Raises:
        StoreUnreachable: If no server answers, or the database cannot be used.
        InputError: If the experiment was deleted.
    """
    where = store_uri(root, uri)
    try:
        if is_first:
            require_reachable(where)
        with _lock_database(sqlite_file(where)):
            _require_database(where)
            artifacts = _artifact_folder(root, where)
            location = None if artifacts is None else _experiment_location(artifacts, experiment)
            found = _find_or_create(connect(where), experiment, location)
    except InputError:
        raise
    except Exception as error:  # SQLAlchemy, requests, drivers and MLflow each raise their own
        raise StoreUnreachable(_unreachable(key, where, error)) from None
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
    return Store(where, experiment, found.experiment_id, artifacts)


def _find_or_create(client: MlflowClient, experiment: str, location: str | None) -> Experiment:
    if (found := client.get_experiment_by_name(experiment)) is not None:
        return found
    answer_or_none(
        lambda: client.create_experiment(
            experiment,
            artifact_location=location,
            tags=EXPERIMENT_TAGS,
        ),
        "RESOURCE_ALREADY_EXISTS",  # created concurrently by another sweep on the same server
    )
    created = client.get_experiment_by_name(experiment)
    assert created is not None  # deleted experiments are found too
    return created


@contextmanager
def _lock_database(database: Path | None) -> Iterator[None]:
    """Hold a file lock for creating the tables of a database: MLflow's migrations crash if two run at once.

    A SQLite database that does not exist yet is created; SQLite leaves an empty file if the database was deleted while
    this process was writing.
    """
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(database.with_name(f".{database.name}.lock"), mode=0o666) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists() or not database.stat().st_size:
            _create_database(database)
        yield


def _create_database(database: Path) -> None:
    """Create a new database under a temporary name: MLflow cannot repair one that a crash left incomplete.

    MLflow creates the tables of a URI once per process, so each temporary name is a new one. SQLite would apply the
    journal of a deleted database to the new one.
    """
    prefix = f".{database.name}.new"
    for leftover in database.parent.glob(f"{prefix}*"):  # also its journal
        leftover.unlink()
    fresh = database.with_name(f"{prefix}-{uuid.uuid4().hex[:8]}")
    connect(_file_uri(fresh)).search_experiments(max_results=1)
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
    fresh.replace(database)


def _require_database(uri: str) -> None:
    """Connect once to a database: MLflow retries an unreachable one for 100 s, with warnings."""
    if uri.startswith(("http://", "https://", "databricks")):
        return
    from sqlalchemy import NullPool, create_engine

    create_engine(uri, poolclass=NullPool).connect().close()


def _artifact_folder(root: Path, uri: str) -> Path | None:
    """Return the folder of a database's artifacts; None for a server, which chooses."""
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    file = sqlite_file(uri)
    return (root if file is None else file.parent).resolve() / "mlruns"


def _experiment_location(artifacts: Path, experiment: str) -> str:
    """Return the absolute artifact folder of an experiment.

    It is absolute so that a plain `mlflow ui` in `root` finds the artifacts regardless of its own default.
    """
    folder = re.sub(r"[^A-Za-z0-9_.-]", "_", experiment).lstrip(".") or "_"
    if folder != experiment:
        folder += "-" + hashlib.sha256(experiment.encode()).hexdigest()[:8]
    path = artifacts / folder
    _create_artifact_folder(artifacts)
    return path.as_uri() if set("%?#") & set(str(path)) else str(path)  # MLflow unquotes plain paths too


def _create_artifact_folder(folder: Path) -> None:
    """Create `mlruns`, writable to a group only if its parent is: MLflow would let the umask decide."""
    if folder.parent.is_dir():
        folder.mkdir(mode=0o755 | (folder.parent.stat().st_mode & stat.S_IWGRP), exist_ok=True)


def _unreachable(key: str, uri: str, error: Exception) -> Diagnostic:
    return Diagnostic(
        "unreachable",
        key,
        f"no MLflow store can be used there ({describe_exception(error)})",
        uri,
        "null (a local mlflow.db), http(s)://… of a running server, or a database URI such as sqlite:////…/mlflow.db",
        _suggest_uri(uri)
        or "start it, or run without it: tracking.must_answer=false, and the ledger keeps everything until it is back",
    )


def _suggest_uri(uri: str) -> str | None:
    """Return the URI that was meant by a folder or by a server without `http://`; None for other URIs."""
    if re.fullmatch(r"[\w.-]+:\d+/?", uri):
        return f"http://{uri}"
    if uri.startswith("file:") or not (":" in uri or uri.startswith("databricks")):
        folder = Path(uri.removeprefix("file:").removeprefix("//"))
        return f"records are not written to a folder; a database in it: {_file_uri(folder.absolute() / 'mlflow.db')}"
    return None
