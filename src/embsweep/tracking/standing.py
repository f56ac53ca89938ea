"""Who is champion, who is challenger, and who was champion before: read from the registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.errors import Fault, InputError, did_you_mean
from embsweep.names import CHALLENGER, CHAMPION
from embsweep.redaction import redact
from embsweep.tracking.library import knock
from embsweep.tracking.lock import LOCK_SUFFIX
from embsweep.tracking.registry import PROMOTED_TAG
from embsweep.tracking.store import Store, sqlite_file, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

HISTORY_TAG = "embsweep.earlier_champions"
"""On the registered model: versions that were champion, as a JSON list, the latest last."""

RESTORED_TAG = "embsweep.restored_at"


@dataclass(frozen=True)
class Standing:
    """The aliases of a registered model at one moment. `earlier` are former champions, the latest last.

    A version that is champion is no challenger, even where an interrupted promotion left it both aliases.
    """

    name: str
    challenger: int | None
    champion: int | None
    earlier: tuple[int, ...] = ()


def open_registry(root: Path, uri: str | None) -> Store:
    """The store at `uri`, or the local one under `root`, for its registry alone; never creates one.

    InputError at `--uri` where there is none or where it does not answer.
    """
    if uri is not None and not uri.strip():
        raise InputError(Fault("empty", "--uri", "is blank", uri, "the address of an MLflow server, or leave it out"))
    where = store_uri(root, uri)
    file = sqlite_file(where)
    if file is not None and not file.is_file():
        raise InputError(
            Fault("missing-file", "--uri", "there is no store yet", redact(where), fix="run a sweep first")
        )
    store = Store(where, experiment="", experiment_id="", artifact_root="")
    try:
        knock(where)
        store.client().search_registered_models(max_results=1)
    except Exception as error:  # SQLAlchemy, requests, drivers and MLflow each raise their own
        reason = (redact(str(error)).splitlines() or [""])[0][:300]
        problem = f"no MLflow registry answers there ({type(error).__name__}: {reason})"
        raise InputError(Fault("unreachable", "--uri", problem, str(store))) from None
    return store


def read_standing(store: Store, name: str) -> Standing:
    """The aliases of `name` now.

    InputError where there is no such registered model, with the names there are, and for a history nobody can read.
    """
    from mlflow.exceptions import MlflowException

    client = store.client()
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(_unknown(client, name)) from None
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    earlier = _read_history(name, model.tags.get(HISTORY_TAG, "[]"))
    return Standing(name, None if challenger == champion else challenger, champion, earlier)


def _read_history(name: str, tag: str) -> tuple[int, ...]:
    try:
        return tuple(int(version) for version in json.loads(tag))
    except (ValueError, TypeError, OverflowError, RecursionError):
        problem, fix = f"the tag {HISTORY_TAG} is no list of versions", "mend or delete the tag in the registry"
        raise InputError(Fault("bad-format", name, problem, tag, "[1, 2]", fix)) from None


def champion_since(version: ModelVersion) -> str:
    """When this version became champion, as recorded; `an unknown time` where its alias was set by hand."""
    return max(version.tags.get(PROMOTED_TAG, ""), version.tags.get(RESTORED_TAG, "")) or "an unknown time"


def _unknown(client: MlflowClient, name: str) -> Fault:
    known = sorted(m.name for m in client.search_registered_models() if not m.name.endswith(LOCK_SUFFIX))
    return Fault(
        "unknown-name",
        "NAME",
        "no such registered model",
        name,
        ", ".join(known) or "none yet",
        did_you_mean(name, known),
    )
