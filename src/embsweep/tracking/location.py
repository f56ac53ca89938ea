"""Where a sweep's records go: the configuration, MLflow's environment variables, and the store of an earlier start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embsweep.config.tracking import TrackingConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.redaction import redact
from embsweep.tracking.store import absolute_uri, store_uri

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"

_UNUSED = {
    "MLFLOW_EXPERIMENT_ID": "set tracking.experiment=NAME, or MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID": "a sweep and each of its trials have runs of their own",
    "MLFLOW_REGISTRY_URI": "models are registered where the runs are, tracking.uri",
    "MLFLOW_TRACKING_DIR": "set tracking.uri",
    "MLFLOW_REGISTRY_DIR": "models are registered where the runs are, tracking.uri",
    "MLFLOW_BACKEND_STORE_URI": "it is for MLflow's server; set tracking.uri",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "artifacts of a database lie in mlruns/ beside it; a server decides itself",
    "MLFLOW_ARTIFACTS_DESTINATION": "it is for MLflow's server",
}
"""Variables of MLflow that a sweep does not read → what to do instead."""

_EARLIER = "from the sweep's earlier start"


@dataclass(frozen=True)
class Location:
    """The store and the experiment of a sweep. `lines` say where they come from, without secrets.

    `key` is the key or the variable that sets the store, for errors.
    """

    tracking: TrackingConfig
    lines: tuple[str, ...]
    key: str


def environment_uri(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the store that MLFLOW_TRACKING_URI names; None if it is unset or blank."""
    return environ.get(URI, "").strip() or None


def choose_location(
    config: TrackingConfig,
    root: Path,
    recorded: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Location:
    """Choose store and experiment: `tracking.…`, else those of the sweep's earlier start, else the environment's.

    So a sweep does not spread its records over two stores if a variable is set in one start and not in the next.

    Args:
        config: The configuration; null leaves the choice to the others.
        root: Folder of the local store.
        recorded: `uri` (without secrets, None for the local store) and `experiment` of an earlier start, if any.
        environ: Environment variables.

    Raises:
        InputError: If the store of the earlier start had a password, which is not recorded and is not given now; or if
            the experiment of the environment is not a valid name.
    """
    uri, source, notes = _choose_uri(config.uri, root, recorded, environment_uri(environ))
    experiment, origin, more = _choose_experiment(config, recorded, environ.get(EXPERIMENT, "").strip() or None)
    try:
        chosen = TrackingConfig.model_validate({**config.model_dump(), "uri": uri, "experiment": experiment})
    except ValidationError:
        raise InputError(
            Diagnostic("bad-name", EXPERIMENT, "is not a valid MLflow name", experiment, "printable characters")
        ) from None
    used = f"MLflow: {redact(store_uri(root, uri))} ({source}), experiment {experiment} ({origin})"
    key = URI if source == f"from {URI}" else "tracking.uri"
    return Location(chosen, (used, *notes, *more, *_list_unused(environ)), key)


def _choose_uri(
    configured: str | None, root: Path, recorded: Mapping[str, Any] | None, given: str | None
) -> tuple[str | None, str, list[str]]:
    """Return the store, what names it, and what else must be said."""
    given = None if given is None else absolute_uri(given)
    if configured is not None:
        uri = absolute_uri(configured)
        is_moved = recorded is not None and recorded["uri"] not in (redact(configured), redact(uri))
        moved = f"  earlier records of this sweep are in {_show(root, recorded)}; all are written to the new store"
        return uri, "from tracking.uri", [moved] if is_moved else []
    default = f"from {URI}" if given is not None else "default"
    if recorded is None or recorded["uri"] == (None if given is None else redact(given)):
        return given, default, []
    if recorded["uri"] and "***" in recorded["uri"]:
        raise InputError(
            Diagnostic(
                "missing-value",
                "tracking.uri",
                f"this sweep's records are in {recorded['uri']}, and the ledger has no secrets",
                hint=f"set {URI} or tracking.uri as before",
            )
        )
    now = f"{URI} is not set now" if given is None else f"{URI} is {redact(given)} now"
    return recorded["uri"], _EARLIER, [f"  {now}; tracking.uri=… moves this sweep's records"]


def _choose_experiment(
    config: TrackingConfig, recorded: Mapping[str, Any] | None, given: str | None
) -> tuple[str, str, list[str]]:
    if config.experiment is not None:
        return config.experiment, "from tracking.experiment", []
    default = (given, f"from {EXPERIMENT}") if given is not None else (config.experiment_name, "default")
    if recorded is None or recorded["experiment"] == default[0]:
        return *default, []
    now = f"{EXPERIMENT} is not set now" if given is None else f"{EXPERIMENT} is {given} now"
    return recorded["experiment"], _EARLIER, [f"  {now}; tracking.experiment=… moves its runs"]


def _show(root: Path, recorded: Mapping[str, Any] | None) -> str:
    return redact(store_uri(root, recorded["uri"] if recorded else None))


def _list_unused(environ: Mapping[str, str]) -> Iterator[str]:
    for name, instead in _UNUSED.items():
        if environ.get(name):
            yield f"  {name} is not used: {instead}"
