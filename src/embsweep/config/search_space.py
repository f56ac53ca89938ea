"""Search space as plain values: one dimension for each swept key, and the configuration of each of its points.

A choice is identified by its text in Hydra's override grammar (`[1024,512]`, `halving`), which is also its stable label
in the ledger.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from embsweep.config.root import Config, build_config

Value = str | int | float
"""Value of a dimension: the text of a choice, or a number."""


@dataclass(frozen=True)
class Choice:
    """One of several texts, unordered."""

    key: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class IntRange:
    """Integers from `low` to `high`, both included, `step` apart."""

    key: str
    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True)
class FloatRange:
    """Numbers from `low` to `high`, both included; a continuous interval if `step` is None."""

    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False


Dimension = Choice | IntRange | FloatRange

_REFERENCE = re.compile("\0([^\0]+)\0")
"""A reference to the value of a swept key. No value of a configuration may contain NUL, so nothing else matches."""


def refer(key: str) -> str:
    """Return the text that stands for the value of the swept key `key` in a `Composition`."""
    return f"\0{key}\0"


@dataclass(frozen=True)
class Composition:
    """Composed values of one combination of swept group options, as the difference to the recipe's.

    Attributes:
        values: The sections of the configuration that differ from the recipe's. A swept key, and every value that
            interpolates it, contains a reference (`refer`) instead of a value.
        defaults: The value of each swept key if a point does not set it.
        options: Swept key → text of each option of a choice → its value.
        inactive: Swept keys that these group options do not use: their values there are the options' own, null.

    Groups are not in `defaults` and `options`, whose values may refer to other swept keys.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    inactive: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchSpace:
    """The dimensions of a sweep, and what is needed to compute the configuration of any point without composing again.

    Attributes:
        dimensions: One dimension for each swept key or group.
        groups: Each swept group, and the recipe's option of it.
        compositions: One for each combination of options of the swept groups, by `combination`.
    """

    dimensions: tuple[Dimension, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    compositions: Mapping[str, Composition] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    def combination(self, params: Mapping[str, Value]) -> str:
        """Return the options of the swept groups at a point, as overrides: `loss=mnrl matryoshka=halving`."""
        return " ".join(f"{group}={params.get(group, option)}" for group, option in self.groups.items())

    def without_inactive(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return the values of a point that its group options use, such as `loss.mini_batch_size` of `cached_mnrl`."""
        inactive = self.compositions[self.combination(params)].inactive if self.compositions else ()
        return {key: value for key, value in params.items() if key not in inactive}

    def describe_inactive(self) -> dict[str, list[str]]:
        """Return each swept key that some combinations of group options do not use, with these."""
        found: dict[str, list[str]] = {}
        for combination, composition in self.compositions.items():
            for key in composition.inactive:
                found.setdefault(key, []).append(combination)
        return found

    def apply(self, base: Mapping[str, Any], params: Mapping[str, Value]) -> Config:
        """Return the configuration of one point.

        Args:
            base: The recipe as plain values.
            params: The point. A swept key that it does not contain has the value that it has in the recipe with the
                group options of this point.

        Raises:
            InputError: If the values cannot be combined.
        """
        if not self.dimensions:
            return build_config(base)
        composition = self.compositions[self.combination(params)]
        used = self.without_inactive(params)
        given = {key: composition.options.get(key, {}).get(str(value), value) for key, value in used.items()}
        return build_config(_dereference({**base, **composition.values}, {**composition.defaults, **given}))


def _dereference(node: Any, chosen: Mapping[str, Any]) -> Any:
    """Return a copy of `node` with the values of the swept keys in the place of references."""
    if isinstance(node, dict):
        return {key: _dereference(value, chosen) for key, value in node.items()}
    if isinstance(node, list):
        return [_dereference(value, chosen) for value in node]
    if not isinstance(node, str):
        return node
    if whole := _REFERENCE.fullmatch(node):
        return _dereference(chosen[whole[1]], chosen)
    return _REFERENCE.sub(lambda found: str(_dereference(found[0], chosen)), node)


def boundary_values(dimension: Dimension) -> tuple[Value, ...]:
    """Return the values that a configuration check must try: every option, or both ends."""
    if isinstance(dimension, Choice):
        return dimension.options
    return (dimension.low, dimension.high)


def count_values(dimension: Dimension) -> int | None:
    """Return the number of values in `grid_values` without building them, or None if there are infinitely many."""
    if isinstance(dimension, Choice):
        return len(dimension.options)
    if isinstance(dimension, IntRange):
        return (dimension.high - dimension.low) // dimension.step + 1
    return None if dimension.step is None else round((dimension.high - dimension.low) / dimension.step) + 1


def grid_values(dimension: Dimension) -> tuple[Value, ...] | None:
    """Return all values of a dimension in order, or None if there are infinitely many."""
    if isinstance(dimension, Choice):
        return dimension.options
    if isinstance(dimension, IntRange):
        return tuple(range(dimension.low, dimension.high + 1, dimension.step))
    count = count_values(dimension)
    if count is None or dimension.step is None:
        return None
    values = (float(f"{dimension.low + i * dimension.step:.15g}") for i in range(count))  # 0.3 for 3 × 0.1
    return tuple(min(max(value, dimension.low), dimension.high) for value in values)


def contains(dimension: Dimension, value: Value) -> bool:
    """Return whether `value` is a value of `dimension`."""
    if isinstance(dimension, Choice):
        return value in dimension.options
    if isinstance(value, str) or not dimension.low <= value <= dimension.high:
        return False
    if isinstance(dimension, IntRange):
        return value == int(value) and (int(value) - dimension.low) % dimension.step == 0
    if dimension.step is None:
        return True
    steps = (value - dimension.low) / dimension.step
    return math.isclose(steps, round(steps), abs_tol=1e-9)


def describe(dimension: Dimension) -> str:
    """Describe a dimension in a few words, for messages and fingerprints."""
    if isinstance(dimension, Choice):
        return f"choice({', '.join(dimension.options)})"
    log = ", log" if dimension.log else ""
    step = f", step {dimension.step:g}" if dimension.step not in (None, 1) else ""
    kind = "integers" if isinstance(dimension, IntRange) else "interval"
    return f"{kind} {dimension.low!r} to {dimension.high!r}{step}{log}"
