"""What Ray, Tune and the number crunchers read from the environment: of the driver, and of the processes of trials."""

from __future__ import annotations

import os
import sys

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

DRIVER_ENVIRONMENT = {
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a stopped trial may still be at its last step: wait, keep the process
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table whatever `verbose` says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that was given no GPU sees none
}
"""Set before `ray.init`."""

WORKER_ENVIRONMENT = {
    **{name: DRIVER_ENVIRONMENT[name] for name in ("TUNE_FUNCTION_THREAD_TIMEOUT_S", "RAY_CHDIR_TO_TRIAL_DIR")},
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 24 * 3600),  # waiting for a place is no failure (`room`)
}
"""Given to Ray for every process of a trial."""


def pin_threads(count: int) -> None:
    """As many threads as this process was given CPUs. torch reads the environment once: if it is there, it is told."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(count)))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
