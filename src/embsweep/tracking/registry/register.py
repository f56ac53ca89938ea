"""The winner of a sweep into the model registry: saved, checked, recorded by hash, and only then a version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.names import CHALLENGER, CHAMPION, rehearsal_name, tracked_metric
from embsweep.tracking.records import SweepIdentity, WinnerRecord
from embsweep.tracking.registry.files import EVIDENCE_TAG, evidence_tags, hash_files, hash_manifest
from embsweep.tracking.registry.logged_model import (
    CHECKPOINT_TAG,
    MANIFEST_TAG,
    MODEL_FOLDER,
    MODEL_ID_TAG,
    log_winner,
)
from embsweep.tracking.runs import SweepRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from sentence_transformers import SentenceTransformer


PROMOTED_TAG = "embsweep.promoted_at"
"""When a version became champion, on that version; it stays when another one replaces it."""

_SAME_VERSION = ("embsweep.sweep", "embsweep.study", CHECKPOINT_TAG, EVIDENCE_TAG)


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry; `uri` is `models:/name/version`, `new` is False if it was there before."""

    name: str
    version: int
    uri: str
    new: bool


def register_winner(
    sweep: SweepRun,
    checkpoint: Path,
    *,
    registered_name: str,
    facts: WinnerRecord,
    model: SentenceTransformer | None = None,
) -> RegisteredVersion:
    """Register a proven checkpoint as a version with the alias `challenger`, attached to its trial's run.

    The same sweep, checkpoint and evidence find the same version again, whatever was interrupted in between. A
    rehearsal's model gets its suffix here. `model` saves loading the checkpoint, if the caller has it in memory.
    Raises InputError for a name that MLflow does not take, UntrustedModel if anything but data would be stored.
    """
    name = check_model_name(rehearsal_name(registered_name) if sweep.identity.rehearsal else registered_name)
    if not math.isfinite(facts.objective):
        said = f"trial {facts.trial} has the objective {facts.objective}; it cannot be registered"
        raise CodedError("not-finite", said)
    client = sweep.store.client()
    marks = sweep.identity.tags | {CHECKPOINT_TAG: hash_manifest(hash_files(checkpoint))}
    marks |= evidence_tags(facts.evidence) if facts.evidence is not None else {}
    version = _find_version(client, name, marks)
    new = version is None
    if version is None:
        tags = _facts_tags(facts) | marks
        logged, manifest = log_winner(sweep.store, checkpoint, tags, facts, model)
        _create_registered_model(client, name)
        version = client.create_model_version(
            name,
            source=logged.artifact_location,  # a `models:/…` source is looked up in a process-global store
            run_id=facts.run_id,
            tags=tags | {MANIFEST_TAG: hash_manifest(manifest), MODEL_ID_TAG: logged.model_id},
            description=_describe(sweep.identity, facts),
            model_id=logged.model_id,
        )
    version = _drop_copies(client, name, version, marks)
    _point_challenger(client, name, version)
    return RegisteredVersion(name, int(version.version), f"models:/{name}/{version.version}", new)


def check_model_name(name: str) -> str:
    """`name` if MLflow takes it for a registered model; InputError at `tracking.registered_model` otherwise."""
    if not name.strip() or any(char in name for char in "/:'\"`") or name.strip(".") == "":
        raise InputError(
            Diagnostic(
                "bad-name", "tracking.registered_model", "not a name for a model", name, "a name without / : and quotes"
            )
        )
    return name


def _find_versions(client: MlflowClient, name: str, marks: Mapping[str, str]) -> list[ModelVersion]:
    """The versions of this sweep, checkpoint and evidence, the first one first."""
    wanted = {tag: marks[tag] for tag in _SAME_VERSION if tag in marks}
    found = client.search_model_versions(f"name = '{name}' and tags.`{CHECKPOINT_TAG}` = '{marks[CHECKPOINT_TAG]}'")
    same = [one for one in found if all(one.tags.get(tag) == value for tag, value in wanted.items())]
    return sorted(same, key=lambda one: int(one.version))


def _find_version(client: MlflowClient, name: str, marks: Mapping[str, str]) -> ModelVersion | None:
    return next(iter(_find_versions(client, name, marks)), None)


def _drop_copies(client: MlflowClient, name: str, version: ModelVersion, marks: Mapping[str, str]) -> ModelVersion:
    """The first version of these marks; later ones are deleted: MLflow was slow to answer, and was asked again."""
    first, *copies = _find_versions(client, name, marks) or [version]
    for copy in copies:
        if not copy.aliases and PROMOTED_TAG not in copy.tags:
            client.delete_model_version(name, copy.version)
    return first


def _create_registered_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)


def _point_challenger(client: MlflowClient, name: str, version: ModelVersion) -> None:
    """Alias the newest winner.

    Running an old sweep's command again must neither take the alias back to its version nor enter one that is,
    or once was, champion.
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
    return scores | own | dict(facts.tags)  # shown in this order


def _describe(identity: SweepIdentity, facts: WinnerRecord) -> str:
    """One line that tells versions apart in the registry's table. It holds 5,000 characters: no card fits."""
    scores = ", ".join(f"{scores[facts.metric]:.4f} at {dim}" for dim, scores in sorted(facts.scores.items())[::-1])
    line = f"{facts.metric} {scores} ({facts.split}); trial {facts.trial} of {identity.name} on {identity.base_model}"
    return f"{line}\n\nThe model card is {MODEL_FOLDER}/README.md among the artifacts." if facts.card else line
