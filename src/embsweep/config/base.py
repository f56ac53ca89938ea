"""What every part of the configuration has in common: frozen, strict, no unknown keys."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the configuration. Values never change; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# YAML knows no tuples: sequences are taken from lists, their elements stay strict.
Dims = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False, min_length=1)]
Floats = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


def check_descending(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions must be given from large to small, each once; ValueError names the offending neighbours."""
    for larger, smaller in itertools.pairwise(dims):
        if larger == smaller:
            raise ValueError(f"{larger} is repeated; accepted: each dimension once, from large to small")
        if larger < smaller:
            raise ValueError(f"{smaller} stands after {larger}; accepted: dimensions from large to small")
    return dims
