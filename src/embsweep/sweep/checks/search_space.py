"""Check a search space: configure both ends or every option of each dimension, and validate each like a trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from embsweep.config import check_trainable
from embsweep.config.search_space import Choice, Dimension, SearchSpace, Value, boundary_values, count_values, describe
from embsweep.core.errors import Diagnostic, InputError
from embsweep.sweep.request import SweepRequest

_MOST_CELLS = 100_000
"""Largest grid that is accepted: the ledger lists every cell before the first trial."""


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
            yield Diagnostic("conflict", dimension.key, problem, describe(dimension), expected, "or search=tpe")
    cells = math.prod(count or 1 for count in counts.values())
    if cells > _MOST_CELLS:
        problem, expected = f"its grid has {cells:,} cells", f"at most {_MOST_CELLS:,}"
        yield Diagnostic("too-many", "search.sampler", problem, "grid", expected, "or search=tpe")


def _validate_dimension(dimension: Dimension, request: SweepRequest, known: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Configure both ends, or every option, and check each like a trial; return the diagnostics not `known` before."""
    diagnostics: list[Diagnostic] = []
    configured: dict[str, list[Value]] = {}
    for value in boundary_values(dimension):
        try:
            config = request.configure({dimension.key: value})
            found = check_trainable(config)
            configured.setdefault(config.model_dump_json(), []).append(value)
        except InputError as error:
            found = list(error.diagnostics)
        new = [diagnostic for diagnostic in found if diagnostic not in known]
        diagnostics.extend(in_space(diagnostic, dimension, value) for diagnostic in new)
    for same in configured.values():
        if isinstance(dimension, Choice) and len(same) > 1:
            names = " and ".join(map(str, same))
            hint = f"use one: {dimension.key}={same[0]}"
            diagnostics.append(
                Diagnostic("duplicate-value", dimension.key, f"{names} compose to the same configuration", hint=hint)
            )
    return diagnostics


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
    return replace(diagnostic, message=f"{diagnostic.message} (in the search space at {dimension.key}={value})")
