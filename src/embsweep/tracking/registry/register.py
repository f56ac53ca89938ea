"""Registration of a sweep's winner: log the model, verify the stored files, record their hashes, create a version."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.markdown import code_span, escape_markdown
from embsweep.core.names import CHALLENGER, CHAMPION, rehearsal_name, tracked_metric
from embsweep.selection.evidence import WINNER, Evidence
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
    """Version in the registry. `new` is False if the version already existed."""

    name: str
    version: int
    new: bool

    @property
    def uri(self) -> str:
        """URI of the version, `models:/name/version`."""
        return f"models:/{self.name}/{self.version}"


def find_registered(
    store: Store, identity: SweepIdentity, checkpoint: Path, *, registered_name: str, evidence: Evidence
) -> RegisteredVersion | None:
    """Return the version that `register_winner` would return without registering anything, None if there is none.

    Args:
        store: Store of the registry.
        identity: The sweep.
        checkpoint: Folder of the checkpoint.
        registered_name: Name of the registered model; a rehearsal adds its suffix.
        evidence: Evidence about the winner.
    """
    name = _parse_full_name(identity, registered_name)
    found = _find_versions(store, name, _id_tags(identity, checkpoint, evidence))
    return RegisteredVersion(name, int(found[0].version), new=False) if found else None


def register_winner(
    store: Store,
    identity: SweepIdentity,
    checkpoint: Path,
    *,
    registered_name: str,
    facts: WinnerRecord,
    model: SentenceTransformer,
) -> RegisteredVersion:
    """Register a verified checkpoint as a version with the alias `challenger`, attached to its trial's run.

    The call is idempotent: the same sweep, checkpoint and evidence always give the same version, also after an
    interrupted call.

    Args:
        store: Store of the registry.
        identity: The sweep.
        checkpoint: Folder of the checkpoint.
        registered_name: Name of the registered model; a rehearsal adds its suffix.
        facts: Winner, its model card and its evidence.
        model: Loaded checkpoint.

    Raises:
        InputError: If MLflow does not accept the name.
        CodedError: If the model has a `truncate_dim`.
        UntrustedModel: If the model has files other than data, or the stored files differ from the saved ones.
    """
    client, name = store.client, _parse_full_name(identity, registered_name)
    id_tags = _id_tags(identity, checkpoint, facts.evidence)
    is_new = not _find_versions(store, name, id_tags)
    if is_new:
        tags = _facts_tags(facts) | id_tags
        logged, manifest = log_winner(store, checkpoint, tags, facts, model)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=_describe_model(name))
        client.create_model_version(
            name,
            source=logged.artifact_location,  # MLflow resolves a `models:/…` source in a process-global store
            run_id=facts.run_id,
            tags=tags | {MANIFEST_TAG: hash_manifest(manifest), MODEL_ID_TAG: logged.model_id},
            description=_describe(identity, facts, store.experiment_id, logged.model_id),
            model_id=logged.model_id,
        )
    version = _delete_duplicates(store, name, id_tags)
    _set_challenger(client, name, version)
    return RegisteredVersion(name, int(version.version), is_new)


def _id_tags(identity: SweepIdentity, checkpoint: Path, evidence: Evidence) -> dict[str, str]:
    return identity.tags | {CHECKPOINT_TAG: hash_manifest(hash_files(checkpoint))} | evidence_tags(evidence)


def _parse_full_name(identity: SweepIdentity, registered_name: str) -> str:
    """Return the name, with the suffix of a rehearsal, if MLflow accepts it for a registered model.

    Raises:
        InputError: If it is blank, has only dots, or contains a slash, colon or quote; at `tracking.registered_model`.
    """
    name = rehearsal_name(registered_name) if identity.rehearsal else registered_name
    if not name.strip() or any(char in name for char in "/:'\"`") or name.strip(".") == "":
        raise InputError(
            Diagnostic(
                "bad-name", "tracking.registered_model", "invalid model name", name, "a name without / : and quotes"
            )
        )
    return name


def _find_versions(store: Store, name: str, id_tags: Mapping[str, str]) -> list[ModelVersion]:
    """Find the versions of this sweep, checkpoint and evidence, sorted by version number."""
    wanted, checkpoint = {tag: id_tags[tag] for tag in _IDENTITY_TAGS}, id_tags[CHECKPOINT_TAG]
    found = store.client.search_model_versions(f"name = '{name}' and tags.`{CHECKPOINT_TAG}` = '{checkpoint}'")
    same = [one for one in found if wanted.items() <= one.tags.items()]
    return sorted(same, key=lambda one: int(one.version))


def _delete_duplicates(store: Store, name: str, id_tags: Mapping[str, str]) -> ModelVersion:
    """Return the first version with these tags; delete later ones, which a retried slow request may have created.

    Versions that have an alias or were champion are kept.
    """
    first, *duplicates = _find_versions(store, name, id_tags)
    for duplicate in duplicates:
        if not duplicate.aliases and PROMOTED_TAG not in duplicate.tags:
            store.client.delete_model_version(name, duplicate.version)
    return first


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
    evidence = facts.evidence
    scores = {
        tracked_metric(dim, evidence.metric, prefix="test"): f"{value:.6f}" for dim, value in facts.scores.items()
    }
    return scores | {
        "embsweep.trial": str(evidence.verdict.winner),
        "embsweep.objective": f"{evidence.on_validation(WINNER):.6f}",
    }


def _describe_model(name: str) -> str:
    command = code_span(f"embsweep promote {shlex.quote(name)}")
    return (
        "Embedding models that won a sweep of embsweep, one version for each. `challenger` is the newest winner, "
        f"`champion` the version in use; {command} moves it if the challenger passes the gate."
    )


def _describe(identity: SweepIdentity, facts: WinnerRecord, experiment_id: str, model_id: str) -> str:
    """Return one line to distinguish versions in the registry's table, and links; its 5,000 characters hold no card."""
    scores = ", ".join(f"{value:.4f} at {dim}" for dim, value in facts.scores.items())
    origin = f"trial {facts.evidence.verdict.winner} of {identity.name} on {escape_markdown(identity.base_model)}"
    place, pages = f"#/experiments/{experiment_id}", "workflowType=machine_learning"
    card = (
        f"The model card is {MODEL_FOLDER}/README.md among "
        f"[the artifacts]({place}/models/{model_id}/artifacts?{pages}). "
        f"[The run that trained it]({place}/runs/{facts.run_id}?{pages})."
    )
    return f"{facts.evidence.metric} {scores} (test); {origin}\n\n{card}"
