"""Points of a search space: which of them are possible, and which compose to the same configuration."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping

from embsweep.config.search_space import SearchSpace, Value, count_values, grid_values

Identify = Callable[[Mapping[str, Value]], str | None]
"""Function that returns the configuration of a point as a text, the same for equal ones; None if it is impossible."""

_MOST_LISTED = 1000
"""Cells of a space that is listed although its sampler draws: to configure one takes a millisecond."""


class Points:
    """The points of a space, by their configurations.

    Args:
        space: The dimensions.
        identify: Identifies a point. By default every point is possible, and none equals another.
        is_grid: Whether the search visits the cells in order, so that they are listed however many they are.
    """

    def __init__(self, space: SearchSpace, identify: Identify | None = None, *, is_grid: bool = False) -> None:
        self.space = space
        self.is_grid = is_grid
        self._identify = identify or (lambda point: json.dumps(dict(point), sort_keys=True))
        self._known: dict[str, str | None] = {}

    def identity(self, point: Mapping[str, Value]) -> str | None:
        """Return the configuration of a point as a text, None if it is impossible."""
        key = json.dumps(dict(point), sort_keys=True)
        if key not in self._known:
            self._known[key] = self._identify(point)
        return self._known[key]

    @property
    def cells(self) -> float:
        """Number of points; infinite if a dimension is continuous."""
        return math.prod(math.inf if (count := count_values(d)) is None else count for d in self.space)

    @property
    def can_be_listed(self) -> bool:
        """True if `distinct` can list every point."""
        return self.cells < math.inf and (self.is_grid or self.cells <= _MOST_LISTED)

    def distinct(
        self, known: Collection[str | None] = (), *, first: Mapping[str, Value] | None = None
    ) -> Iterator[dict[str, Value]]:
        """Yield one point for each configuration in order, those with the values of `first` first.

        Args:
            known: Configurations that are left out.
            first: Values of the points that come first.
        """
        seen = {*known}
        for cell in self.in_order(first):
            identity = self.identity(cell)
            if identity is not None and identity not in seen:
                seen.add(identity)
                yield cell

    def in_order(self, first: Mapping[str, Value] | None = None) -> Iterator[dict[str, Value]]:
        """Yield every cell, those with the values of `first` first."""
        first = first or {}
        axes = [grid_values(dimension) or () for dimension in self.space]
        keys = [dimension.key for dimension in self.space]
        for comes_first in (True, False):
            cells = (dict(zip(keys, values, strict=True)) for values in itertools.product(*axes))
            yield from (cell for cell in cells if (first.items() <= cell.items()) == comes_first)
