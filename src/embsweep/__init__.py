"""Hyperparameter sweeps for embedding models that are used at several Matryoshka dimensions.

`run_sweep` runs a sweep, `read_sweep` reads one, `load_champion` loads the model that was promoted, and `evaluate`
scores any model at several dimensions. Importing this package imports none of the libraries behind them.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embsweep.api import Sweep, SweepResult, evaluate, load_champion, read_sweep, run_sweep
    from embsweep.evaluation.evaluator import Evaluation

__all__ = ["Evaluation", "Sweep", "SweepResult", "evaluate", "load_champion", "read_sweep", "run_sweep"]

try:
    __version__ = version("embsweep")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'embsweep' has no attribute '{name}'")
    from embsweep import api
    from embsweep.core.environment import set_default_environment

    set_default_environment()  # before the functions import torch, Ray and MLflow
    return getattr(api, name)
