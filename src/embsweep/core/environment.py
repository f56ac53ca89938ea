"""What this program and its libraries read from the environment: set once, before any of them is imported.

Ray, torch and MLflow's libraries call `getenv` in threads of their own. libc moves its table when a name is added, so
that a change beside them can crash the process. Every name that is needed is therefore there from the start; later at
most a value is replaced, which moves nothing.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

LIBRARY_ENVIRONMENT = {
    "OPENBLAS_MAIN_FREE": "1",  # numpy, while it is imported; removed again
    "KMP_DUPLICATE_LIB_OK": "True",  # scikit-learn, while it is imported
    "KMP_INIT_AT_FORK": "FALSE",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "0",  # accelerate, with every trainer; removed again. This is torch's default
}
"""What libraries add in the midst of their work: here from the start, and none is added."""

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
    # MLflow's own defaults block one call for up to four minutes when its server is gone, and send one that was slow
    # again: a server that stalls then makes two runs of it. Whoever asks repeats instead, and looks first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # a local Ray asks for a token anyway, and sets this while it starts
    "RAY_CLIENT_MODE": "0",  # as Ray sets it while it is imported
    "PYTHONBREAKPOINT": "pdb.set_trace",  # as without it; ray.init replaces it
}
"""What the user set of these stays."""

RAY_ENVIRONMENT = {
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a stopped trial may still be at its last step: wait, keep the process
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table whatever `verbose` says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that was given no GPU sees none
}
"""What the driver of a sweep needs, whatever the user set."""

_settled: dict[str, str] = {}
"""What this process has put there: no value of the user's."""


def set_default_environment(environ: MutableMapping[str, str] | None = None) -> None:
    """Add what is missing. To be called when a program starts; later calls find all of it there and change nothing."""
    environ = os.environ if environ is None else environ
    for name, value in _DEFAULTS.items():
        if name not in environ:
            environ[name] = _settled[name] = value
    for name, value in RAY_ENVIRONMENT.items():
        if environ.get(name) != value:
            environ[name] = value


def given(name: str) -> str | None:
    """The value of `name` if it is the user's; None where there is none, or it was put there by this program."""
    value = os.environ.get(name)
    return None if value == _settled.get(name) else value


def replace_value(name: str, value: str) -> None:
    """Give another value to a name that is there: safe beside the threads of libraries. KeyError where it is not."""
    _settled[name] = value
    if os.environ[name] != value:
        os.environ[name] = value
