"""Where a registered version's files may come from: only from the place that MLflow assigned to its model or run.

A version's source is a text that every writer of the registry chooses: a folder of this machine, or an address that
would be contacted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from embsweep.core.redaction import redact
from embsweep.tracking.connection import answer_or_none
from embsweep.tracking.registry.files import UntrustedModel
from embsweep.tracking.registry.logged_model import MODEL_ID_TAG
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_LOCAL = frozenset({"", "file"})
_STORAGE = frozenset({"s3", "gs", "wasbs", "abfss", "hdfs", "dbfs"})
_PROXY = "mlflow-artifacts"
_PROXY_PATHS = tuple(("/", api, "2.0", _PROXY, "artifacts") for api in ("api", "ajax-api"))


def find_source(store: Store, version: ModelVersion) -> str:
    """Return the location of a version's files; nothing is copied or contacted but the store.

    Args:
        store: Store of the registry.
        version: Version with hashes.

    Raises:
        UntrustedModel: If it is not below the artifact location of the version's logged model or run.
    """
    location: str = store.client.get_model_version_download_uri(version.name, version.version)
    roots = _list_roots(store, version)
    for text in dict.fromkeys((str(version.source), location)):
        if (problem := find_problem(text, roots, store.uri)) is not None:
            own = ", ".join(redact(root) for root in roots) or "none: MLflow knows neither its run nor its logged model"
            raise UntrustedModel(
                "unsafe-model",
                f"it is not fetched, because its source '{redact(text)}' {problem}; "
                f"accepted: a location below the one that MLflow reports for its model or run ({own}). "
                "Delete this version and register the winner again: embsweep sync SWEEP",
            )
    return location


def find_problem(source: str, roots: Iterable[str], store_uri: str) -> str | None:
    """Return why a source is refused; None if it is permitted.

    Args:
        source: Location of a version's files.
        roots: Artifact locations of its logged model and its run, as MLflow reports them.
        store_uri: URI of the store; of addresses, only this server's own storage of artifacts is permitted.
    """
    try:
        return _find_problem(source, roots, urlsplit(store_uri))
    except ValueError:  # a port that is no number, a NUL in a path
        return "is neither a path nor a URI"


def _find_problem(source: str, roots: Iterable[str], server: SplitResult) -> str | None:
    parsed = urlsplit(source)
    if ".." in _split_path(parsed):
        return "contains '..'"
    if parsed.query or parsed.fragment:
        return "has a query or fragment"
    if parsed.scheme not in _LOCAL | _STORAGE and not _is_own_proxy(parsed, server):
        return "names an address or scheme that is not contacted"
    if not any(_is_below(source, root) for root in roots):
        return "is outside"
    return None


def _list_roots(store: Store, version: ModelVersion) -> tuple[str, ...]:
    """Return the artifact locations of the version's logged model and run, without those that do not exist."""
    client, model_id, run_id = store.client, version.tags.get(MODEL_ID_TAG), version.run_id
    model = answer_or_none(lambda: client.get_logged_model(model_id)) if model_id else None
    run = answer_or_none(lambda: client.get_run(run_id)) if run_id else None
    found = (model and model.artifact_location, run and run.info.artifact_uri)
    return tuple(str(root) for root in found if root)


def _is_own_proxy(source: SplitResult, server: SplitResult) -> bool:
    """Return whether a source is in the storage that the store's own server serves."""
    if server.scheme not in ("http", "https"):
        return False
    address = (server.hostname, server.port)
    if source.scheme == _PROXY:
        return not source.netloc or (source.hostname, source.port) == address
    starts = _split_path(source)[: len(_PROXY_PATHS[0])]
    return source.scheme == server.scheme and (source.hostname, source.port) == address and starts in _PROXY_PATHS


def _is_below(source: str, root: str) -> bool:
    ours, theirs = urlsplit(source), urlsplit(root)
    if ours.scheme in _LOCAL and theirs.scheme in _LOCAL:
        folder, limit = _to_folder(source), _to_folder(root)
        return folder is not None and limit is not None and folder.is_relative_to(limit)
    same_place = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
    limit_parts = _split_path(theirs)
    return same_place and len(limit_parts) > 1 and _split_path(ours)[: len(limit_parts)] == limit_parts


def _to_folder(location: str) -> Path | None:
    """Return the folder of a local location without links; None if it is relative or on another machine."""
    parsed = urlsplit(location)
    if parsed.netloc not in ("", "localhost"):
        return None
    folder = Path(unquote(parsed.path))  # MLflow resolves escapes of plain paths too
    return folder.resolve() if folder.is_absolute() else None


def _split_path(location: SplitResult) -> tuple[str, ...]:
    """Return the parts of the path; escapes are resolved until there are none, as MLflow's servers do."""
    path = location.path
    while (plain := unquote(path)) != path:
        path = plain
    return PurePosixPath(path.replace("\\", "/")).parts
