"""A request to run a sweep, as plain values: this package depends neither on Hydra nor on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config import Config
from embsweep.config.search_space import SearchSpace, Value


@dataclass(frozen=True)
class SweepRequest:
    """One invocation of a sweep.

    `values` is the configuration with nothing swept: the recipe, which becomes trial 0. `recipe` holds its values of
    the swept keys, in the notation of the space, without those that are outside their dimension.
    """

    values: Mapping[str, Any]
    space: SearchSpace
    recipe: Mapping[str, Value]
    command: str
    default_storage: Path

    @property
    def has_whole_recipe(self) -> bool:
        """True if no value of the recipe is outside its dimension, so that trial 0 can be the recipe."""
        return {dimension.key for dimension in self.space} == self.recipe.keys()

    def configure(self, params: Mapping[str, Value]) -> Config:
        """Return the configuration of one point of the space, before scaling.

        Raises:
            InputError: If the point is not a valid configuration.
        """
        return self.space.apply(self.values, params)
