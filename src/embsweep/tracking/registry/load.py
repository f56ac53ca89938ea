"""Loading of registered models: fetch the files, compare them with the recorded hashes, and only then load them.

MLflow's own loader is never used: it forces `trust_remote_code=True`, so that a changed `modules.json` runs code.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import Diagnostic, InputError
from embsweep.models.safety import UnsafeModel, check_no_code
from embsweep.selection.evidence import Evidence
from embsweep.tracking.connection import answer_or_none
from embsweep.tracking.registry.files import (
    EVIDENCE_FILE,
    UnreadableEvidence,
    UntrustedModel,
    hash_files,
    hash_manifest,
    read_evidence,
    require_data_only,
    require_same,
)
from embsweep.tracking.registry.logged_model import MANIFEST_TAG, MODEL_FOLDER, MODEL_ID_TAG
from embsweep.tracking.registry.source import find_source
from embsweep.tracking.store import Store, fetch_artifacts

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class FetchedVersion:
    """Local copy of a version's files.

    `error` is the reason why they must not be loaded, `evidence_error` the reason why there is no evidence. The
    evidence can be valid although the weights are not: each file has its own hash.
    """

    folder: Path
    manifest_sha256: str
    error: UntrustedModel | None = None
    evidence: Evidence | None = None
    evidence_error: UntrustedModel | UnreadableEvidence | None = None


def load_registered(
    store: Store, name: str, alias_or_version: str | int, *, device: str | None = None
) -> SentenceTransformer:
    """Load the model of a registered version.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        alias_or_version: Alias or number of the version.
        device: Device of the weights; None takes the GPU if there is one.

    Raises:
        InputError: If there is no such version.
        UntrustedModel: If its files differ from the registered ones, are not only data, or cannot be fetched.
    """
    version = find_version(store, name, alias_or_version)
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        fetched = fetch_version(store, version, Path(scratch) / "model")
        if fetched.error:
            raise fetched.error
        return load_fetched(fetched.folder, fetched.manifest_sha256, device=device)


def fetch_version(store: Store, version: ModelVersion, folder: Path) -> FetchedVersion:
    """Copy a version's files, so that nothing changes between check and load, and compare their hashes.

    Args:
        store: Store of the registry.
        version: Version to fetch.
        folder: Folder to create for the copy.

    Returns:
        The copy; errors are not raised but recorded in it.
    """
    label = f"{version.name} version {version.version}"
    recorded = version.tags.get(MANIFEST_TAG)
    if recorded is None:
        diagnostic = UntrustedModel("no-hashes", f"{label} has no hashes; it was not registered by embsweep")
        return FetchedVersion(folder, "", diagnostic, evidence_error=diagnostic)
    try:
        place = fetch_artifacts(store, find_source(store, version), folder)
        found = hash_files(place)
    except UntrustedModel as error:
        diagnostic = UntrustedModel(error.code, f"{label}: {error}")
        return FetchedVersion(folder, recorded, diagnostic, evidence_error=diagnostic)
    except Exception as error:  # each storage's client library raises its own, or is not installed
        diagnostic = UntrustedModel("unreadable", f"{label} cannot be fetched: {error}")
        return FetchedVersion(folder, recorded, diagnostic, evidence_error=diagnostic)
    listed = found if hash_manifest(found) == recorded else _listed_files(store, version)
    evidence, evidence_error = _read_evidence(place, found, listed if hash_manifest(listed) == recorded else {})
    return FetchedVersion(
        place, recorded, _find_diagnostic(label, place, found, listed, recorded), evidence, evidence_error
    )


def load_fetched(folder: Path, manifest_sha256: str, *, device: str | None = None) -> SentenceTransformer:
    """Load the model in a fetched folder, after comparing its hashes again: another process may have fetched it.

    Args:
        folder: Folder of the copy.
        manifest_sha256: Recorded hash of the manifest.
        device: Device of the weights; None takes the GPU if there is one.

    Raises:
        UntrustedModel: If the files differ from the registered ones, or are not only data.
        UnsafeModel: If the files require code.
    """
    from embsweep.models.loading import load_model

    if hash_manifest(hash_files(folder)) != manifest_sha256:
        raise UntrustedModel("altered-file", "the fetched copy is not the model that was registered")
    require_data_only(folder)
    return load_model(str(folder / MODEL_FOLDER), device, local_files_only=True)


def _find_diagnostic(
    label: str, folder: Path, found: dict[str, str], listed: dict[str, str], recorded: str
) -> UntrustedModel | None:
    try:
        if hash_manifest(found) != recorded:
            require_same(found, listed)  # names the differences
            return UntrustedModel("altered-file", f"{label} is not the model that was registered")
        require_data_only(folder)
        check_no_code(folder)
    except UntrustedModel as error:
        return UntrustedModel(error.code, f"{label}: {error}")
    except UnsafeModel as error:
        return UntrustedModel("unsafe-model", f"{label}: {error}")
    return None


def _read_evidence(
    folder: Path, found: dict[str, str], listed: dict[str, str]
) -> tuple[Evidence | None, UnreadableEvidence | None]:
    """Return the evidence as registered, or the error that prevents it."""
    if found.get(EVIDENCE_FILE) != listed.get(EVIDENCE_FILE):
        return None, UnreadableEvidence("altered-file", f"its {EVIDENCE_FILE} is not the one that was registered")
    try:
        return read_evidence(folder), None
    except UnreadableEvidence as error:
        return None, error


def find_version(store: Store, name: str, alias_or_version: str | int) -> ModelVersion:
    """Find a version of a registered model by number or alias.

    Args:
        store: Store of the registry.
        name: Name of the registered model.
        alias_or_version: Alias or number of the version.

    Raises:
        InputError: If there is no such version; the message lists the existing ones.
    """
    client, wanted = store.client, str(alias_or_version)
    find = client.get_model_version if wanted.isdecimal() else client.get_model_version_by_alias
    version = answer_or_none(lambda: find(name, wanted))
    if version is not None:
        return version
    known = {model.name: model for model in client.search_registered_models()}
    there = f"registered models: {', '.join(known) or 'none'}"
    if name in known:
        versions = client.search_model_versions(f"name = '{name}'")
        there = f"versions {sorted(int(v.version) for v in versions)}, aliases {sorted(known[name].aliases)}"
    raise InputError(Diagnostic("unknown-name", name, "no such version of a registered model", wanted, there))


def _listed_files(store: Store, version: ModelVersion) -> dict[str, str]:
    """Return the hash of each file, recorded when the model was logged; empty if the record is missing or invalid."""
    from mlflow.exceptions import MlflowException

    try:
        logged = store.client.get_logged_model(version.tags[MODEL_ID_TAG])
        files = json.loads(logged.tags[MANIFEST_TAG])
    except (MlflowException, KeyError, ValueError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}
