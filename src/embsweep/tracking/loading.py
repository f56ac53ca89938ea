"""A registered model back from the registry: fetched, compared with what was registered, and only then loaded.

Never by MLflow's own loader: it forces `trust_remote_code=True`, so that a changed `modules.json` runs code.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.errors import Fault, InputError
from embsweep.tracking.logged_model import MANIFEST_TAG, MODEL_FOLDER, MODEL_ID_TAG
from embsweep.tracking.manifest import UntrustedModel, check_data_only, check_same, hash_files, hash_manifest
from embsweep.tracking.store import Store, fetch_artifacts

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from sentence_transformers import SentenceTransformer


def load_registered(
    store: Store, name: str, alias_or_version: str | int, *, device: str | None = None
) -> SentenceTransformer:
    """The model of a registered version, given by number or by alias.

    Raises InputError if there is no such version, UntrustedModel if its files are not those that were registered.
    """
    version = find_version(store, name, alias_or_version)
    recorded = version.tags.get(MANIFEST_TAG)
    if recorded is None:
        raise UntrustedModel(f"{name} version {version.version} carries no hashes; it was not registered by embsweep")
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        location = store.client().get_model_version_download_uri(name, version.version)
        # a copy, so that nothing changes between the check and the load
        folder = fetch_artifacts(store, location, Path(scratch) / "model")
        found = hash_files(folder)
        if hash_manifest(found) != recorded:
            check_same(found, _listed_files(store, version))  # names the differences
            raise UntrustedModel(f"{name} version {version.version} is not the model that was registered")
        check_data_only(folder)
        return SentenceTransformer(
            str(folder / MODEL_FOLDER), device=device, trust_remote_code=False, local_files_only=True
        )


def find_version(store: Store, name: str, alias_or_version: str | int) -> ModelVersion:
    """A registered version by number or alias. Raises InputError naming what there is."""
    from mlflow.exceptions import MlflowException

    client = store.client()
    wanted = str(alias_or_version)
    try:
        if wanted.isdecimal():
            return client.get_model_version(name, wanted)
        return client.get_model_version_by_alias(name, wanted)
    except MlflowException:
        known = [model.name for model in client.search_registered_models()]
        there = f"registered models: {', '.join(known) or 'none'}"
        if name in known:
            versions = client.search_model_versions(f"name = '{name}'")
            aliases = sorted(client.get_registered_model(name).aliases)
            there = f"versions {sorted(int(v.version) for v in versions)}, aliases {aliases}"
        raise InputError(Fault(name, "no such version of a registered model", wanted, there)) from None


def _listed_files(store: Store, version: ModelVersion) -> dict[str, str]:
    """The files by hash as listed when the model was logged; none if that list is gone."""
    from mlflow.exceptions import MlflowException

    try:
        logged = store.client().get_logged_model(version.tags[MODEL_ID_TAG])
        files: dict[str, str] = json.loads(logged.tags[MANIFEST_TAG])
    except (MlflowException, KeyError):
        return {}
    return files
