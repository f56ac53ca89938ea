"""The process behind `embsweep ui`: MLflow's web application inside the guard, on the loopback interface only.

It does what `mlflow server` does for one worker. `mlflow server` itself can only wrap its application in one that an
installed package registers (`--app-name`), and starts it in further processes.
"""

from __future__ import annotations

import os
import sys

LOOPBACK = "127.0.0.1"
STORE, ARTIFACTS = "EMBSWEEP_UI_STORE", "EMBSWEEP_UI_ARTIFACTS"
TOKEN, WRITES = "EMBSWEEP_UI_TOKEN", "EMBSWEEP_UI_WRITES"
"""Variables with the settings of this process, as other users can read the command line (`ps`)."""

_STOP_TIMEOUT_S = 3


def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT, with the settings of the environment."""
    import uvicorn  # before MLflow, which then adds its checks of host and origin

    store, artifacts, token = (os.environ.pop(name) for name in (STORE, ARTIFACTS, TOKEN))
    from mlflow.server import constants

    # MLflow limits the hosts that it connects to for artifacts, and the jobs that it starts, by these variables.
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = store
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = artifacts
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    from embsweep.tracking.ui_guard import Guard

    initialize_backend_stores(store, store, artifacts)
    guard = Guard(app, token, port, writes=os.environ.pop(WRITES) == "true")
    uvicorn.run(
        guard,
        host=LOOPBACK,
        port=port,
        access_log=False,  # it would contain the token
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]))
