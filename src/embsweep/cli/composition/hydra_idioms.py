"""What users know from Hydra and its sweepers, where it is not the same here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hydra._internal.grammar import grammar_functions

_annotations = grammar_functions.choice.__annotations__
_annotations["args"] = _annotations["args"] | None
"""Hydra reads `null,1`, but refuses `choice(null,1)` only because of this annotation (facebookresearch/hydra#1986)."""

_KEYS_OF_OPTUNA: Mapping[str, str] = {
    "n_trials": "search.trials=20",
    "n_jobs": "runner.max_concurrent=2",
    "direction": "the objective (objective=mean), which is always maximised",
    "study_name": "sweep.name=NAME",
    "storage": "storage.path=FOLDER",
    "sampler": "search=gp, search=tpe, …, and search.seed=0",
    "max_failure_rate": "sweep.max_failed_trials=3",
    "search_space": "key=interval(0.0, 0.2) or key=tag(log, interval(1e-6, 1e-4)) on the command line",
    "max_batch_size": "runner.max_concurrent=2",
}
"""Key of the sweepers of Hydra → what means the same here."""


def translate_sweeper(key: str) -> str | None:
    """Return what means the same here as a key of a sweeper of Hydra; None if there is nothing."""
    name = re.sub(r"^hydra[./]sweeper[./]", "", key)
    found = _KEYS_OF_OPTUNA.get(re.split(r"[./]", name)[0]) if name != key else None
    return None if found is None else f"here: {found}"
