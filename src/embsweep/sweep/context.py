"""What every step of a running sweep needs: who asked for what, and where things are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.config import Config, build_config
from embsweep.config.training import ObjectiveConfig
from embsweep.report.progress import Progress
from embsweep.search.ledger import Ledger
from embsweep.space import Value
from embsweep.sweep.baseline import Baseline
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.preflight import Prepared
from embsweep.sweep.request import SweepRequest
from embsweep.sweep.supplies import Supplies
from embsweep.tracking.recorder import Recorder


@dataclass(frozen=True)
class SweepContext:
    """One sweep that runs. `ledger` is that of the search; `baseline` what the untrained model scores on validation."""

    request: SweepRequest
    prepared: Prepared
    folder: SweepFolder
    ledger: Ledger
    tracking: Recorder
    progress: Progress
    baseline: Baseline
    supplies: Supplies

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
