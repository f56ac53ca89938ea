"""Share the data of all trials through Ray's object store; a trial itself carries only a reference.

The store keeps one copy per node and copies between nodes; a warm process deserialises the texts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import ray

from embsweep.runners.base import TrialFn
from embsweep.training.messages import Reporter, TrialResult, TrialSpec


@dataclass(frozen=True)
class RemoteTrialFn:
    """`run` with keyword arguments from the object store: a `TrialFn` of a few hundred bytes.

    The store keeps them as long as the driver holds this object.
    """

    run: Callable[..., TrialResult]
    reference: ray.ObjectRef[dict[str, Any]]

    def __call__(self, job: TrialSpec, reporter: Reporter) -> TrialResult:
        """Run the trial with the arguments behind the reference."""
        return self.run(job, reporter, **_get(self.reference))


def put_trial_fn(trial_fn: TrialFn) -> TrialFn:
    """Put the keyword arguments of a `functools.partial` into the object store; return any other function unchanged."""
    if not isinstance(trial_fn, partial) or trial_fn.args or not trial_fn.keywords:
        return trial_fn
    return RemoteTrialFn(trial_fn.func, ray.put(trial_fn.keywords))


@lru_cache(maxsize=1)  # the texts of an earlier sweep are freed
def _get(reference: ray.ObjectRef[dict[str, Any]]) -> dict[str, Any]:
    return ray.get(reference)
