"""What the edge asks for, as values: this room knows neither Hydra nor the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embsweep.config.search_space import Space, Value

Compose = Callable[[Mapping[str, Value]], Mapping[str, Any]]
"""Key → value of one point of the space in, the composed configuration's plain values out."""


@dataclass(frozen=True)
class SweepRequest:
    """One invocation.

    `values` is the configuration with nothing swept: the recipe that becomes trial 0. `recipe` holds its
    values in the terms of the space, without those that lie outside their dimension.
    """

    values: Mapping[str, Any]
    space: Space
    recipe: Mapping[str, Value]
    compose: Compose
    command: str
    default_storage: Path
