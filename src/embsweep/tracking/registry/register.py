"""Registration of a sweep's winner: log the model, verify the stored files, record their hashes, create a version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.names import CHALLENGER, CHAMPION, rehearsal_name, tracked_metric
from embsweep.selection.evidence import Evidence
from embsweep.tracking.records import SweepIdentity, WinnerRecord
from embsweep.tracking.registry.files import EVIDENCE_TAG, evidence_tags, hash_files, hash_manifest
from embsweep.tracking.registry.logged_model import (
    CHECKPOINT_TAG,
    MANIFEST_TAG,
    MODEL_FOLDER,
    MODEL_ID_TAG,
    log_winner,
)
from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from sentence_transformers import SentenceTransformer


PROMOTED_TAG = "embsweep.promoted_at"
"""Tag of a version: time when it became champion. It remains when another version replaces it."""

_IDENTITY_TAGS = ("embsweep.sweep", "embsweep.study", CHECKPOINT_TAG, EVIDENCE_TAG)


@dataclass(frozen=True)
class RegisteredVersion:
    """Version in the registry. `uri` is `models:/name/version`; `new` is False if the version already existed."""

    name: str
    version: int
    uri: str
    new: bool


def find_registered(
    store: Store, identity: SweepIdentity, checkpoint: Path, *, registered_name: str, evidence: Evidence | None
) -> RegisteredVersion | None:
    """Return the version that `register_winner` would return without registering anything, None if there is none.

    Args:
        store: Store of the registry.
        identity: The sweep.
        checkpoint: Folder of the checkpoint.
        registered_name: Name of the registered model; a rehearsal adds its suffix.
        evidence: Evidence about the winner.
    """
    name = _full_name(identity, registered_name)
    client = store.client()
    version = _find_version(client, name, _id_tags(identity, checkpoint, evidence))
    return None if version is None else _to_registered(version, new=False)


def register_winner(
    store: Store,
    identity: SweepIdentity,
    checkpoint: Path,
    *,
    registered_name: str,
    facts: WinnerRecord,
    model: SentenceTransformer | None = None,
) -> RegisteredVersion:
    """Register a verified checkpoint as a version with the alias `challenger`, attached to its trial's run.

    The call is idempotent: the same sweep, checkpoint and evidence always give the same version, also after an
    interrupted call.

    Args:
        store: Store of the registry.
        identity: The sweep.
        checkpoint: Folder of the checkpoint.
        registered_name: Name of the registered model; a rehearsal adds its suffix.
        facts: Winner, its scores and its evidence.
        model: Loaded checkpoint, None to load it from `checkpoint`.

    Raises:
        InputError: If MLflow does not accept the name.
        CodedError: If the objective is not finite, or the model has a `truncate_dim`.
        UntrustedModel: If the model has files other than data, or the stored files differ from the saved ones.
        EmbsweepError: If MLflow does not mark the model as READY.
    """
    name = _full_name(identity, registered_name)
    if not math.isfinite(facts.objective):
        message = f"trial {facts.trial} has the objective {facts.objective}; it cannot be registered"
        raise CodedError("not-finite", message)
    client = store.client()
    id_tags = _id_tags(identity, checkpoint, facts.evidence)
    version = _find_version(client, name, id_tags)
    new = version is None
    if version is None:
        tags = _facts_tags(facts) | id_tags
        logged, manifest = log_winner(store, checkpoint, tags, facts, model)
        _create_registered_model(client, name)
        version = client.create_model_version(
            name,
            source=logged.artifact_location,  # MLflow resolves a `models:/…` source in a process-global store
            run_id=facts.run_id,
            tags=tags | {MANIFEST_TAG: hash_manifest(manifest), MODEL_ID_TAG: logged.model_id},
            description=_describe(identity, facts),
            model_id=logged.model_id,
        )
    version = _delete_duplicates(client, name, version, id_tags)
    _set_challenger(client, name, version)
    return _to_registered(version, new=new)


def _full_name(identity: SweepIdentity, registered_name: str) -> str:
    return _parse_model_name(rehearsal_name(registered_name) if identity.rehearsal else registered_name)


def _id_tags(identity: SweepIdentity, checkpoint: Path, evidence: Evidence | None) -> dict[str, str]:
    own = {CHECKPOINT_TAG: hash_manifest(hash_files(checkpoint))}
    return identity.tags | own | (evidence_tags(evidence) if evidence is not None else {})


def _to_registered(version: ModelVersion, *, new: bool) -> RegisteredVersion:
    uri = f"models:/{version.name}/{version.version}"
    return RegisteredVersion(version.name, int(version.version), uri, new)


def _parse_model_name(name: str) -> str:
    """Return `name` if MLflow accepts it for a registered model.

    Raises:
        InputError: If it is blank, has only dots, or contains a slash, colon or quote; at `tracking.registered_model`.
    """
    if not name.strip() or any(char in name for char in "/:'\"`") or name.strip(".") == "":
        raise InputError(
            Diagnostic(
                "bad-name", "tracking.registered_model", "invalid model name", name, "a name without / : and quotes"
            )
        )
    return name


def _find_versions(client: MlflowClient, name: str, id_tags: Mapping[str, str]) -> list[ModelVersion]:
    """Find the versions of this sweep, checkpoint and evidence, sorted by version number."""
    wanted = {tag: id_tags[tag] for tag in _IDENTITY_TAGS if tag in id_tags}
    found = client.search_model_versions(f"name = '{name}' and tags.`{CHECKPOINT_TAG}` = '{id_tags[CHECKPOINT_TAG]}'")
    same = [one for one in found if all(one.tags.get(tag) == value for tag, value in wanted.items())]
    return sorted(same, key=lambda one: int(one.version))


def _find_version(client: MlflowClient, name: str, id_tags: Mapping[str, str]) -> ModelVersion | None:
    return next(iter(_find_versions(client, name, id_tags)), None)


def _delete_duplicates(
    client: MlflowClient, name: str, version: ModelVersion, id_tags: Mapping[str, str]
) -> ModelVersion:
    """Return the first version with these tags; delete later ones, which a retried slow request may have created.

    Versions that have an alias or were champion are kept.
    """
    first, *duplicates = _find_versions(client, name, id_tags) or [version]
    for duplicate in duplicates:
        if not duplicate.aliases and PROMOTED_TAG not in duplicate.tags:
            client.delete_model_version(name, duplicate.version)
    return first


def _create_registered_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)


def _set_challenger(client: MlflowClient, name: str, version: ModelVersion) -> None:
    """Set the alias `challenger` on the version if it is newer than challenger and champion.

    If an old sweep's command is run again, the alias must not return to its older version, nor be set on a version that
    is or was champion.
    """
    aliases = client.get_registered_model(name).aliases
    newest = max((int(aliases[alias]) for alias in (CHALLENGER, CHAMPION) if alias in aliases), default=0)
    if int(version.version) > newest and PROMOTED_TAG not in version.tags:
        client.set_registered_model_alias(name, CHALLENGER, str(version.version))


def _facts_tags(facts: WinnerRecord) -> dict[str, str]:
    own = {"embsweep.trial": str(facts.trial), "embsweep.objective": f"{facts.objective:.6f}"}
    scores = {
        tracked_metric(dim, facts.metric, prefix=facts.split): f"{facts.scores[dim][facts.metric]:.6f}"
        for dim in sorted(facts.scores, reverse=True)
    }
    return scores | own | dict(facts.tags)  # MLflow shows them in this order


def _describe(identity: SweepIdentity, facts: WinnerRecord) -> str:
    """Return one line to distinguish versions in the registry's table; its 5,000 characters are too few for a card."""
    scores = ", ".join(f"{scores[facts.metric]:.4f} at {dim}" for dim, scores in sorted(facts.scores.items())[::-1])
    line = f"{facts.metric} {scores} ({facts.split}); trial {facts.trial} of {identity.name} on {identity.base_model}"
    return f"{line}\n\nThe model card is {MODEL_FOLDER}/README.md among the artifacts." if facts.card else line
