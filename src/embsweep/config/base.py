"""Common base of all parts of the configuration: frozen and strict, without unknown keys."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from embsweep.core.codes import Code
from embsweep.core.redaction import redact

LARGEST_INTEGER = 2**53
"""Floats represent every integer up to this one exactly: samplers compute in floats, and JSON is read as floats."""


class FrozenModel(BaseModel):
    """Strict, immutable pydantic base of configuration, messages and records; undeclared keys are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        """Reject lone surrogates (not storable), NUL (invalid in paths) and integers that JSON readers may round."""
        for part in value if isinstance(value, tuple) else (value,):
            require(
                not (isinstance(part, str) and ("\0" in part or any("\ud800" <= c <= "\udfff" for c in part))),
                ConstraintError(
                    "bad-character", "contains a character that cannot be stored", "UTF-8 text without NUL"
                ),
            )
            require(
                not (isinstance(part, int) and abs(part) > LARGEST_INTEGER),
                ConstraintError("out-of-range", "is too large", f"an integer up to {LARGEST_INTEGER:,}"),
            )
        return value


class ConstraintError(ValueError):
    """Raised by validators for an invalid `key` of the validated part, or for the validated value (`key` None)."""

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


def require(accepted: object, error: ConstraintError) -> None:
    """Raise `error` unless `accepted` is true."""
    if not accepted:
        raise error


def check_no_secret(name: str) -> str:
    """Return a name if it contains nothing that looks like a secret: names go where texts are not masked, as folders.

    Raises:
        ConstraintError: If it does.
    """
    require(redact(name) == name, ConstraintError("bad-name", "contains a secret", "a name without one"))
    return name


Name = Annotated[str, AfterValidator(check_no_secret)]

# YAML has no tuples: sequences are converted from lists, their elements are validated strictly.
Dims = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False, min_length=1, max_length=1000)]
Floats = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""numpy accepts seeds below 2**32, and samplers add the trial's number to theirs."""
Fraction = Annotated[float, Field(gt=0, lt=1)]


def check_descending(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Return `dims` if each dimension is given once, from large to small.

    Raises:
        ConstraintError: If a dimension is repeated or out of order. The message names it, and the one before it.
    """
    for previous, dim in itertools.pairwise(dims):
        require(
            previous != dim,
            ConstraintError("duplicate-value", f"{previous} is repeated", "each dimension once, from large to small"),
        )
        require(
            previous > dim,
            ConstraintError("wrong-order", f"{dim} comes after {previous}", "dimensions from large to small"),
        )
    return dims


def check_rising(fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Return `fractions` if they are points of a schedule.

    Raises:
        ConstraintError: If they do not increase strictly within (0, 1] or do not end with 1.0.
    """
    require(
        list(fractions) == sorted(set(fractions)) and fractions[0] > 0 and fractions[-1] == 1.0,
        ConstraintError(
            "wrong-order", "are not fractions of a schedule", "strictly increasing numbers in (0, 1] that end with 1.0"
        ),
    )
    return fractions


DescendingDims = Annotated[Dims, AfterValidator(check_descending)]
Schedule = Annotated[Floats, AfterValidator(check_rising)]
