"""MLflow itself: imported late (1.5 s and more), quiet, without telemetry, each request sent once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from embsweep.core.environment import set_default_environment
from embsweep.core.errors import DiskFull, EmbsweepError, InputError, TrackingUnavailable
from embsweep.core.files import is_disk_full_error
from embsweep.core.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FIRST_CONTACT_TIMEOUT_S = 4
_TIMES, _PAUSE_S = 3, 2.0


def connect(uri: str) -> MlflowClient:
    """A client of the tracking store and registry at `uri`."""
    set_default_environment()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    ours = logging.getLogger("mlflow")
    ours.setLevel(logging.WARNING)  # mlflow configures it while it is imported
    ours.handlers.clear()  # its own prints the traceback of every request that a locked or full database refuses
    ours.propagate = True
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def knock(uri: str) -> None:
    """Raise where nothing answers at `uri` within about ten seconds; any answer is one. A database is not asked."""
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


# What MLflow says of a request that would be as wrong the next time; never of a database that is locked or gone.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE")


T = TypeVar("T")


def retry(request: Callable[[], T], consequence: str) -> T:
    """What `request` gives, asked up to three times; it must bear being repeated. See `translate_outages`."""
    with translate_outages(consequence):
        for _ in range(_TIMES - 1):
            try:
                return request()
            except EmbsweepError:
                raise
            except Exception as error:
                if is_disk_full_error(str(error)) or not is_unavailable(error):
                    raise
            time.sleep(_PAUSE_S)
        return request()


@contextmanager
def translate_outages(consequence: str) -> Iterator[None]:
    """Turn a failure of MLflow or of the way there into TrackingUnavailable, which says what was not done.

    DiskFull where it was this machine's disk that had no room.
    """
    try:
        yield
    except EmbsweepError:
        raise
    except Exception as error:
        if is_disk_full_error(str(error)):
            raise DiskFull(
                f"a disk is full ({_describe(error)}); {consequence}. Free some space; every trial is kept, and the "
                "same command goes on from here."
            ) from error
        if not is_unavailable(error):
            raise
        raise TrackingUnavailable(
            f"MLflow does not answer ({_describe(error)}); {consequence}. Every trial is kept; once it answers, the "
            "same command goes on from here."
        ) from error


def _describe(error: Exception) -> str:
    reason = next(iter(redact(str(error)).splitlines()), "")[:300]
    return f"{type(error).__name__}: {reason}"


def is_unavailable(error: Exception) -> bool:
    """Whether a request failed because MLflow, its database or the way there is out of order for now."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in _REFUSALS
    return isinstance(error, OSError | SQLAlchemyError | InputError)  # requests' errors are OSErrors
