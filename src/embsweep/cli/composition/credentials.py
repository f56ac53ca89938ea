"""MLflow's credentials go only to a server that the user has named, not to one that a preset names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from embsweep.core.errors import Diagnostic
from embsweep.core.redaction import redact

_KEY = "tracking.uri"
_VARIABLES = (
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
_FILE = "~/.mlflow/credentials"


def check_credentials(
    values: Mapping[str, Any], given: Collection[str], environ: Mapping[str, str] = os.environ
) -> list[Diagnostic]:
    """Check that no preset chooses the server that MLflow sends this user's credentials to.

    Args:
        values: Plain values of the composed configuration.
        given: Keys and groups that the command line sets.
        environ: Environment variables.

    Returns:
        A diagnostic if a file of the configuration names a server, there are credentials, and neither the command line
        nor MLFLOW_TRACKING_URI names it.
    """
    tracking = values.get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, Mapping) else None
    is_server = isinstance(uri, str) and uri.lower().startswith(("http://", "https://"))
    if not is_server or _KEY in given or uri == environ.get("MLFLOW_TRACKING_URI", "").strip():
        return []
    if not (found := [name for name in _VARIABLES if environ.get(name)] or _find_file()):
        return []
    problem = f"is a server that a preset names, and MLflow would send it your credentials ({', '.join(found)})"
    hint = f"name it yourself: {_KEY}={redact(str(uri))} on the command line, or MLFLOW_TRACKING_URI"
    return [Diagnostic("not-settable", _KEY, problem, uri, "a server that you know", hint)]


def _find_file() -> list[str]:
    return [_FILE] if Path(_FILE).expanduser().is_file() else []
