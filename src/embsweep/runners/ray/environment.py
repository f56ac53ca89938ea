"""Environment variables and thread counts of a trial's processes."""

from __future__ import annotations

import os
import sys

from embsweep.core.environment import LIBRARY_ENVIRONMENT, RAY_ENVIRONMENT

_THREADS = "OMP_NUM_THREADS"

_OF_WORKERS = ("TUNE_FUNCTION_THREAD_TIMEOUT_S", "RAY_CHDIR_TO_TRIAL_DIR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Variables that Ray reads in the process of a trial; nodes that `ray start` started do not have the driver's."""

WORKER_ENVIRONMENT = {
    **LIBRARY_ENVIRONMENT,
    **{name: RAY_ENVIRONMENT[name] for name in _OF_WORKERS},
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment variables that Ray sets in every process of a trial."""


def thread_variables(count: int) -> dict[str, str]:
    """Return the environment variables that give a process with `count` CPUs as many threads."""
    return dict.fromkeys((_THREADS, "MKL_NUM_THREADS"), str(count))


def pin_threads(count: int) -> None:
    """Make torch use `count` threads, the number of CPUs of this process.

    The environment is not changed. Nothing is done if torch is not imported yet and will read the same number there.
    """
    if "torch" not in sys.modules and os.environ.get(_THREADS) == str(count):
        return
    import torch

    torch.set_num_threads(count)
