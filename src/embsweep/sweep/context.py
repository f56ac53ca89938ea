"""What every step of a running sweep needs: who asked for what, and where things are written.

What the runner does for each job: `run_trial`, with all that the trials of a sweep share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from embsweep.config import Config, build_config
from embsweep.config.search_space import Value
from embsweep.config.training import ObjectiveConfig
from embsweep.reports.progress import Progress
from embsweep.runners.base import TrialFn
from embsweep.search.ledger import Ledger
from embsweep.sweep.assets import SharedAssets
from embsweep.sweep.baseline import Baseline
from embsweep.sweep.checks.gpu_memory import count_sharing
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.request import SweepRequest
from embsweep.tracking.tracker import Tracker
from embsweep.training.trial import TrialData, run_trial


@dataclass(frozen=True)
class SweepContext:
    """One sweep that runs. `ledger` is that of the search; `baseline` what the untrained model scores on validation."""

    request: SweepRequest
    prepared: PreflightResult
    folder: SweepFolder
    ledger: Ledger
    tracking: Tracker
    progress: Progress
    baseline: Baseline
    assets: SharedAssets

    @property
    def recipe(self) -> Config:
        """The configuration that nothing of the space was put into, scaled."""
        return self.prepared.recipe

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective of every run: the base model's scores stand in place of the floors that name them."""
        return self.baseline.profile

    @property
    def has_recipe(self) -> bool:
        """Whether trial 0 is the recipe: it is not where one of its values lies outside the space."""
        whole = {dimension.key for dimension in self.request.space} == self.request.recipe.keys()
        return self.recipe.search.recipe_first and whole

    def configure(self, params: Mapping[str, Value]) -> Config:
        """The configuration of one point of the space, scaled. InputError for a point that is not valid."""
        config = self.prepared.scale.apply(build_config(self.request.compose(params)))
        return config.model_copy(update={"objective": self.objective})


def build_trial_fn(context: SweepContext, data: TrialData) -> TrialFn:
    """One trial on `data`. What is given by keyword travels once, and not with every trial."""
    assets = context.assets
    share = 1 / count_sharing(context.prepared.slots)
    return partial(run_trial, data=data, tokens=assets.tokens, models=assets.models, memory_share=share)
