"""MLflow itself: imported late (1.5 s and more), quiet, without telemetry, with bounded retries."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embsweep.errors import EmbsweepError, InputError, TrackingUnavailable
from embsweep.tracking.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own defaults block one call for up to four minutes when its server is gone.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}


def connect(uri: str) -> MlflowClient:
    """A client of the tracking store and registry at `uri`. What the user set in the environment stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    ours = logging.getLogger("mlflow")
    ours.setLevel(logging.WARNING)  # mlflow configures it while it is imported
    ours.handlers.clear()  # its own prints the traceback of every request that a locked or full database refuses
    ours.propagate = True
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def first_contact() -> Iterator[None]:
    """While this lasts, a server that does not answer is given up within about ten seconds."""
    before = {name: os.environ.get(name) for name in _FIRST_CONTACT}
    os.environ.update(_FIRST_CONTACT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# What MLflow says of a request that would be as wrong the next time; never of a database that is locked or gone.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")


@contextmanager
def naming_outages(consequence: str) -> Iterator[None]:
    """Turn a failure of MLflow or of the way there into TrackingUnavailable, which says what was not done."""
    try:
        yield
    except EmbsweepError:
        raise
    except Exception as error:
        if not is_outage(error):
            raise
        reason = next(iter(redact(str(error)).splitlines()), "")[:300]
        raise TrackingUnavailable(
            f"MLflow does not answer ({type(error).__name__}: {reason}); {consequence}. Every trial is kept; once it "
            "answers, the same command goes on from here."
        ) from error


def is_outage(error: Exception) -> bool:
    """Whether a request failed because MLflow, its database or the way there is out of order for now."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in _REFUSALS
    return isinstance(error, OSError | SQLAlchemyError | InputError)  # requests' errors are OSErrors
