"""What every part of the configuration has in common: frozen, strict, no unknown keys."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from embsweep.core.codes import Code

LARGEST_INTEGER = 2**53
"""Floats hold every integer up to here: samplers compute in them, and JSON is read as them."""


class FrozenModel(BaseModel):
    """A part of the configuration. Values never change; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        """Half a surrogate pair cannot be stored anywhere, a NUL in no path, a larger integer not in every JSON."""
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, str) and ("\0" in part or any("\ud800" <= c <= "\udfff" for c in part)):
                raise ConstraintError(
                    "bad-character", "holds a character that cannot be written", "text in UTF-8 without NUL"
                )
            if isinstance(part, int) and abs(part) > LARGEST_INTEGER:
                raise ConstraintError("out-of-range", "is too large", f"an integer up to {LARGEST_INTEGER:,}")
        return value


class ConstraintError(ValueError):
    """Raised by validators: a fault of `key` inside the part that is validated, or of the value itself."""

    def __init__(
        self,
        code: Code,
        message: str,
        expected: str,
        *,
        key: str | None = None,
        value: object = None,
        hint: str | None = None,
    ) -> None:
        self.code, self.message, self.expected, self.key, self.value, self.hint = (
            code,
            message,
            expected,
            key,
            value,
            hint,
        )
        super().__init__(f"{message}; accepted: {expected}")


# YAML knows no tuples: sequences are taken from lists, their elements stay strict.
Dims = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False, min_length=1, max_length=1000)]
Floats = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""numpy takes seeds below 2**32, and samplers add the trial's number to theirs."""
Fraction = Annotated[float, Field(gt=0, lt=1)]


def check_descending(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions must be given from large to small, each once; ConstraintError names the offending neighbours."""
    for larger, smaller in itertools.pairwise(dims):
        if larger == smaller:
            raise ConstraintError(
                "duplicate-value", f"{larger} is repeated", "each dimension once, from large to small"
            )
        if larger < smaller:
            raise ConstraintError("wrong-order", f"{smaller} stands after {larger}", "dimensions from large to small")
    return dims


def check_rising(fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Fractions of a schedule must rise strictly within (0, 1] and end with 1.0; ConstraintError otherwise."""
    if list(fractions) != sorted(set(fractions)) or fractions[0] <= 0 or fractions[-1] != 1.0:
        raise ConstraintError(
            "wrong-order", "are no fractions of a schedule", "numbers that rise strictly within (0, 1] and end with 1.0"
        )
    return fractions
