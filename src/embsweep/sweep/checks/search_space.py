"""Check a search space: configure both ends or every option of each dimension, and validate each like a trial."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from embsweep.config import check_trainable
from embsweep.config.search_space import (
    Choice,
    Dimension,
    FloatRange,
    SearchSpace,
    Value,
    boundary_values,
    count_values,
    describe,
)
from embsweep.core.errors import Diagnostic, InputError
from embsweep.sweep.request import SweepRequest

_MOST_CELLS = 100_000
"""Largest grid that is accepted: the ledger lists every cell before the first trial."""


_MOST_COMBINATIONS = 2000
"""Combinations with other values that are tried for a value that is impossible beside the recipe."""


def validate_space(request: SweepRequest, known: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return the diagnostics of each dimension, of a grid, and of models that are evaluated at different dimensions.

    Args:
        request: The request.
        known: What was found before: a point does not report it again.
    """
    found = list(known)
    for dimension in request.space:
        found.extend(_validate_dimension(dimension, request, found))
    is_grid = request.values.get("search", {}).get("sampler") == "grid"
    return [
        *found[len(known) :],
        *_validate_same_dims(request),
        *(_validate_grid(request.space) if is_grid else ()),
    ]


def _validate_grid(space: SearchSpace) -> Iterator[Diagnostic]:
    counts = {dimension: count_values(dimension) for dimension in space}
    for dimension, count in counts.items():
        if count is None:
            problem, expected = "a grid cannot hold an interval", "choice(…) or range(…)"
            hint = f"{dimension.key}={','.join(_space_evenly(dimension))}, or search=tpe"
            yield Diagnostic("conflict", dimension.key, problem, describe(dimension), expected, hint)
    cells = math.prod(count or 1 for count in counts.values())
    if cells > _MOST_CELLS:
        problem, expected = f"its grid has {cells:,} cells", f"at most {_MOST_CELLS:,}"
        yield Diagnostic("too-many", "search.sampler", problem, "grid", expected, "or search=tpe")


def _space_evenly(dimension: Dimension) -> Iterator[str]:
    """Yield the values of a short grid over an interval, in logarithmic steps if it is logarithmic."""
    if isinstance(dimension, FloatRange):
        low, high, steps = dimension.low, dimension.high, 4
        for i in range(steps + 1):
            share = i / steps
            yield f"{low * (high / low) ** share if dimension.log else low + (high - low) * share:.3g}"


def _validate_dimension(dimension: Dimension, request: SweepRequest, known: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Configure both ends, or every option, and check each like a trial; return the diagnostics not `known` before.

    A value that is impossible beside the recipe is accepted if it is possible beside other values of the space.
    """
    diagnostics: list[Diagnostic] = []
    configured: dict[str, list[Value]] = {}
    dimension_values = boundary_values(dimension)
    for value in dimension_values:
        try:
            config = request.configure({dimension.key: value})
            found = check_trainable(config)
            configured.setdefault(config.model_dump_json(), []).append(value)
        except InputError as error:
            found = list(error.diagnostics)
        new = [diagnostic for diagnostic in found if diagnostic not in known]
        if new and not known and _is_possible_elsewhere(dimension, value, request):
            continue
        diagnostics.extend(in_space(diagnostic, dimension, value) for diagnostic in new)
    is_used = dimension.key in request.space.without_inactive({dimension.key: dimension_values[0]})
    for same in configured.values():
        if isinstance(dimension, Choice) and len(same) > 1 and is_used:
            names = " and ".join(map(str, same))
            hint = f"use one: {dimension.key}={same[0]}"
            diagnostics.append(
                Diagnostic("duplicate-value", dimension.key, f"{names} compose to the same configuration", hint=hint)
            )
    return diagnostics


def _is_possible_elsewhere(dimension: Dimension, value: Value, request: SweepRequest) -> bool:
    """Return whether a value is possible beside other values of the space: of one other dimension, then of all."""
    axes = [[(d.key, v) for v in boundary_values(d)] for d in request.space if d is not dimension]
    one_by_one = ((pair,) for axis in axes for pair in axis)
    together = itertools.islice(itertools.product(*axes), _MOST_COMBINATIONS)
    for point in itertools.chain(one_by_one, together):
        with suppress(InputError):
            if not check_trainable(request.configure({dimension.key: value, **dict(point)})):
                return True
    return False


def _validate_same_dims(request: SweepRequest) -> Iterator[Diagnostic]:
    """Check that models of different sizes are evaluated at the same dimensions: otherwise they are not comparable."""
    found: dict[str, tuple[int, ...]] = {}
    for dimension in request.space:
        for value in boundary_values(dimension) if dimension.key.split(".")[0] == "model" else ():
            with suppress(InputError):  # reported with its dimension
                found[f"{dimension.key}={value}"] = request.configure({dimension.key: value}).trial.eval_dims
    if len(set(found.values())) > 1:
        listed = "; ".join(f"{place}: {list(dims)}" for place, dims in found.items())
        common = sorted(set.intersection(*map(set, found.values())), reverse=True)
        hint = f"eval.dims=[{','.join(map(str, common))}]" if common else None
        yield Diagnostic(
            "conflict",
            "eval.dims",
            f"differ across the space ({listed})",
            expected="the same for every trial",
            hint=hint,
        )


def in_space(diagnostic: Diagnostic, dimension: Dimension, value: Value) -> Diagnostic:
    """Return the diagnostic with the point of the space appended to its message.

    Args:
        diagnostic: What is wrong.
        dimension: The dimension that was set.
        value: The value that it was set to.
    """
    hint = diagnostic.hint
    if isinstance(dimension, FloatRange) and diagnostic.expected == "an integer":
        hint = f"for whole numbers: {dimension.key}=range({dimension.low:.0f},{math.floor(dimension.high) + 1})"
    message = f"{diagnostic.message} (in the search space at {dimension.key}={value})"
    return replace(diagnostic, message=message, hint=hint)
