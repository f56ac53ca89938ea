"""Check a search space: configure both ends or every option of each dimension, and validate each like a trial."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from embsweep.config import check_trainable
from embsweep.config.search_space import Choice, Dimension, Value, boundary_values, count_values, describe
from embsweep.core.errors import Diagnostic, InputError
from embsweep.sweep.request import SweepRequest

_MOST_CELLS = 100_000
"""Largest grid that is accepted: the ledger lists every cell before the first trial."""


def check_space(request: SweepRequest, diagnostics: list[Diagnostic]) -> None:
    """Append the diagnostics of each dimension, of a grid, and of models that are evaluated at different dimensions."""
    for dimension in request.space:
        diagnostics.extend(_check_dimension(dimension, request, known=list(diagnostics)))
    diagnostics.extend(_check_same_dims(request))
    if request.values.get("search", {}).get("sampler") == "grid":
        diagnostics.extend(
            Diagnostic(
                "conflict",
                d.key,
                "a grid cannot hold an interval",
                describe(d),
                "choice(…) or range(…)",
                "or search=tpe",
            )
            for d in request.space
            if count_values(d) is None
        )
        cells = math.prod(count_values(d) or 1 for d in request.space)
        if cells > _MOST_CELLS:
            expected = f"at most {_MOST_CELLS:,}"
            diagnostics.append(
                Diagnostic(
                    "too-many", "search.sampler", f"its grid has {cells:,} cells", "grid", expected, "or search=tpe"
                )
            )


def _check_dimension(dimension: Dimension, request: SweepRequest, known: list[Diagnostic]) -> list[Diagnostic]:
    """Compose both ends, or every option, and check each like a trial; return the diagnostics not `known` before."""
    diagnostics: list[Diagnostic] = []
    composed: dict[str, list[Value]] = {}
    for value in boundary_values(dimension):
        try:
            config = request.configure({dimension.key: value})
            found = check_trainable(config)
            composed.setdefault(config.model_dump_json(), []).append(value)
        except InputError as error:
            found = list(error.diagnostics)
        new = [diagnostic for diagnostic in found if diagnostic not in known]
        diagnostics.extend(in_space(diagnostic, dimension, value) for diagnostic in new)
    for same in composed.values():
        if isinstance(dimension, Choice) and len(same) > 1:
            names = " and ".join(map(str, same))
            hint = f"use one: {dimension.key}={same[0]}"
            diagnostics.append(
                Diagnostic("duplicate-value", dimension.key, f"{names} compose to the same configuration", hint=hint)
            )
    return diagnostics


def _check_same_dims(request: SweepRequest) -> Iterator[Diagnostic]:
    """Check that models of different sizes are evaluated at the same dimensions: otherwise they are not comparable."""
    found: dict[str, tuple[int, ...]] = {}
    for dimension in request.space:
        for value in boundary_values(dimension) if dimension.key.split(".")[0] == "model" else ():
            try:
                config = request.configure({dimension.key: value})
            except InputError:
                continue  # reported with its dimension
            found[f"{dimension.key}={value}"] = config.trial.eval_dims
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
