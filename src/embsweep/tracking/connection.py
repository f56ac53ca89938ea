"""Connection to MLflow: clients, retries and the errors of an outage.

MLflow is imported late (it takes 1.5 s and more), without telemetry or log output, and sends each request only once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from embsweep.core.environment import set_default_environment
from embsweep.core.errors import DiskFull, EmbsweepError, InputError, TrackingUnavailable, describe_exception
from embsweep.core.files import is_disk_full_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FIRST_CONTACT_TIMEOUT_S = 4
_TIMES, _PAUSE_S = 3, 2.0


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking store and registry at `uri`."""
    set_default_environment()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # mlflow sets its level when it is imported
    ours = logging.getLogger("mlflow")
    ours.handlers.clear()  # its own prints a traceback for every request that a locked or full database rejects
    ours.propagate = True
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def require_reachable(uri: str) -> None:
    """Check that a server answers at `uri`, with any status; if not, raise within about ten seconds.

    Does nothing for the URI of a database.
    """
    if not uri.startswith(("http://", "https://")):
        return
    set_default_environment()
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    http_request(  # type: ignore[no-untyped-call]
        get_default_host_creds(uri),  # type: ignore[no-untyped-call]
        "/health",
        "GET",
        timeout=_FIRST_CONTACT_TIMEOUT_S,
        max_retries=1,
        retry_codes=(),
        raise_on_status=False,
    )


# Error codes of requests that would fail again. MLflow never uses them for a database that is locked or missing.
_PERMANENT_ERRORS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

T = TypeVar("T")


def retry(request: Callable[[], T], consequence: str) -> T:
    """Call `request` up to three times while MLflow is unavailable, and return its result.

    Args:
        request: Idempotent request to MLflow.
        consequence: What was not done, for the error message (`nothing was registered`).

    Raises:
        TrackingUnavailable: If MLflow does not answer the last attempt either.
        DiskFull: If a disk is full; this is not retried.
    """
    for _ in range(_TIMES - 1):
        try:
            with translate_outages(consequence):
                return request()
        except TrackingUnavailable:
            time.sleep(_PAUSE_S)
    with translate_outages(consequence):
        return request()


@contextmanager
def translate_outages(consequence: str) -> Iterator[None]:
    """Translate exceptions of MLflow, its database or the network into errors that the command line shows.

    Other exceptions, and errors of this project, pass unchanged. `consequence` is what was not done, for the message.

    Raises:
        DiskFull: If the exception reports a full disk.
        TrackingUnavailable: If MLflow, its database or the network is unavailable.
    """
    try:
        yield
    except EmbsweepError:
        raise
    except Exception as error:
        reason = describe_exception(error)
        if is_disk_full_error(str(error)):
            raise DiskFull(
                f"a disk is full ({reason}); {consequence}. Free some space; every trial is kept, and the same command "
                "resumes from here."
            ) from error
        if not is_unavailable(error):
            raise
        raise TrackingUnavailable(
            f"MLflow does not answer ({reason}); {consequence}. Every trial is kept; once it answers, the "
            "same command resumes from here."
        ) from error


def answer_or_none(request: Callable[[], T], *absent: str) -> T | None:
    """Return MLflow's answer to a request, or None if MLflow refuses it with one of the error codes `absent`.

    Args:
        request: Request to MLflow.
        *absent: Error codes; by default those for something that does not exist, or whose name cannot exist.
    """
    from mlflow.exceptions import MlflowException

    try:
        return request()
    except MlflowException as error:
        if error.error_code not in (absent or _ABSENT):
            raise
    return None


def is_unavailable(error: Exception) -> bool:
    """Return whether a request failed because MLflow, its database or the network is temporarily unavailable."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in _PERMANENT_ERRORS
    return isinstance(error, OSError | SQLAlchemyError | InputError)  # exceptions of requests are OSErrors
