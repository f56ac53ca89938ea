"""Context that the steps of a running sweep share, and the function that runs its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from embsweep.config import Config
from embsweep.config.search_space import Value
from embsweep.config.training import ObjectiveConfig
from embsweep.models.copies import ModelCopy
from embsweep.reports.progress import Progress
from embsweep.runners.base import TrialFn
from embsweep.search.search import SearchLedger
from embsweep.sweep.baseline import Baseline
from embsweep.sweep.checks.gpu_memory import count_trials_per_gpu
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.request import SweepRequest
from embsweep.tracking.sync import MlflowSync
from embsweep.training.trial import TrialData, run_trial


@dataclass(frozen=True)
class SweepContext:
    """A running sweep. `ledger` is that of the search, `baseline` holds the untrained model's validation scores.

    `models` are the copies of base models from which the trials of a cluster load them, else empty.
    """

    request: SweepRequest
    prepared: PreflightResult
    folder: SweepFolder
    ledger: SearchLedger
    tracking: MlflowSync
    progress: Progress
    baseline: Baseline
    models: tuple[ModelCopy, ...] = ()

    @property
    def recipe(self) -> Config:
        """The scaled configuration, without any value of the space."""
        return self.prepared.recipe

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective of every run, with the base model's scores substituted for floors that refer to them."""
        return self.baseline.profile

    @property
    def has_recipe(self) -> bool:
        """True if trial 0 is the recipe: it is not if one of the recipe's values is outside the space."""
        whole = {dimension.key for dimension in self.request.space} == self.request.recipe.keys()
        return self.recipe.search.recipe_first and whole

    def configure(self, params: Mapping[str, Value]) -> Config:
        """Return the scaled configuration of one point of the space.

        Raises:
            InputError: If the point is not a valid configuration.
        """
        config = self.prepared.scale.apply(self.request.configure(params))
        return config.model_copy(update={"objective": self.objective})


def build_trial_fn(context: SweepContext, data: TrialData) -> TrialFn:
    """Return the function that runs one trial on `data`.

    Its keyword arguments are the same for all trials: a runner transfers them to other processes once, not per trial.
    """
    share = 1 / count_trials_per_gpu(context.prepared.slots)
    return partial(run_trial, data=data, models=context.models, memory_share=share)
