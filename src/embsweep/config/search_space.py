"""Search space as values: one dimension for each swept key, in terms of Hydra's override grammar.

A suggested value is always converted to the text of an override, so that composing it yields exactly that value. A
choice is therefore identified by its text (`[1024,512]`, `halving`), which is also its stable label in the ledger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
Space = tuple[Dimension, ...]


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


def to_override(key: str, value: Value) -> str:
    """Return the override that sets `key` to `value`; `repr` keeps every bit of a float."""
    return f"{key}={value if isinstance(value, str) else repr(value)}"


def describe(dimension: Dimension) -> str:
    """Describe a dimension in a few words, for messages and fingerprints."""
    if isinstance(dimension, Choice):
        return f"choice({', '.join(dimension.options)})"
    log = ", log" if dimension.log else ""
    step = f", step {dimension.step:g}" if dimension.step not in (None, 1) else ""
    kind = "integers" if isinstance(dimension, IntRange) else "interval"
    return f"{kind} {dimension.low!r} to {dimension.high!r}{step}{log}"
