"""Environment variables that this program and its libraries read, set once before any library is imported.

Ray, torch and MLflow's libraries call `getenv` in threads of their own. libc moves its table when a name is added, so
that adding one while these threads run can crash the process. Every required name is therefore set at the start.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

LIBRARY_ENVIRONMENT = {
    "OPENBLAS_MAIN_FREE": "1",  # numpy sets it during its import and removes it again
    "KMP_DUPLICATE_LIB_OK": "True",  # scikit-learn sets it during its import
    "KMP_INIT_AT_FORK": "FALSE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS gives the same bits every time, for 32 MiB (train.deterministic)
    "PYTORCH_NVML_BASED_CUDA_CHECK": "0",  # accelerate sets and removes it with every trainer. This is torch's default
}
"""Variables that libraries would add or read while they work; they are set from the start, so that none is added."""

_DEFAULTS = {
    **LIBRARY_ENVIRONMENT,
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own defaults block a call for up to four minutes if its server is gone, and repeat a slow request: a
    # server that stalls then creates two runs. The callers retry instead, after looking up existing runs.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # a local Ray requires a token anyway, and sets this during its start
    "RAY_CLIENT_MODE": "0",  # the value that Ray sets during its import
    "PYTHONBREAKPOINT": "pdb.set_trace",  # Python's default; ray.init replaces it
}
"""Default values; a value that the user has set is kept."""

_REQUIRED = {
    "PYTHONSAFEPATH": "1",  # a new process does not import from the working folder, which may have files of others
}
"""Values of the processes that this program starts; they replace the user's values."""

RAY_ENVIRONMENT = {
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a stopped trial may be in its last step: wait, and keep the process
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a table regardless of `verbose`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without assigned GPUs sees none
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a Ray that this process starts listens on loopback only
}
"""Values that the driver of a sweep requires; they replace the user's values."""


MLFLOW_ENVIRONMENT = {
    # A pooled connection to SQLite goes on writing to a file that was deleted; MLflow loses what it writes there.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "0",  # 0 is none: SQLAlchemy refuses sizes without a pool
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "0",
}
"""Values that writing to MLflow's database requires; they replace the user's values."""


def set_default_environment(environ: MutableMapping[str, str] | None = None) -> None:
    """Add the missing variables. Call it when a program starts; later calls find all of them set and change nothing."""
    environ = os.environ if environ is None else environ
    wanted = {**_DEFAULTS, **environ, **_REQUIRED, **RAY_ENVIRONMENT, **MLFLOW_ENVIRONMENT}
    environ.update(wanted.items() - environ.items())
