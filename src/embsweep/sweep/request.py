"""A request to run a sweep, as plain values: this package depends neither on Hydra nor on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config.search_space import Space, Value

Compose = Callable[[Mapping[str, Value]], Mapping[str, Any]]
"""Function from one point of the space (key → value) to the plain values of its composed configuration."""


@dataclass(frozen=True)
class SweepRequest:
    """One invocation of a sweep.

    `values` is the configuration with nothing swept: the recipe, which becomes trial 0. `recipe` holds its values of
    the swept keys, in the notation of the space, without those that are outside their dimension.
    """

    values: Mapping[str, Any]
    space: Space
    recipe: Mapping[str, Value]
    compose: Compose
    command: str
    default_storage: Path
