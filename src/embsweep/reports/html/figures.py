"""What several parts of the report need of a result, computed once: retention by dimension, and the slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.selection.evidence import BASE, WINNER, Comparison, Evidence, Interval
from embsweep.selection.retention import compute_retention
from embsweep.selection.slices import SliceResult, compare_slices


@dataclass(frozen=True)
class Figures:
    """Share of the largest dimension's score at each dimension, of winner and base, and the slices of the test queries.

    A model whose score is 0 at the largest dimension has no shares.
    """

    retention: Mapping[str, Mapping[int, Interval]]
    slices: tuple[SliceResult, ...]


def compute_figures(evidence: Evidence) -> Figures:
    """Compute the figures of a result; for 5,000 test queries this takes several seconds."""
    kept = {name: compute_retention(evidence.test[name].per_query, evidence.groups, seed=0) for name in (WINNER, BASE)}
    return Figures({name: found for name, found in kept.items() if found}, compare_slices(evidence))


def find_comparison(evidence: Evidence, reference: str, dim: int | None) -> Comparison | None:
    """Return the comparison of the winner with a reference at a dimension, None: on the objective; None if absent.

    Args:
        evidence: The evidence.
        reference: Name of the reference.
        dim: The dimension.
    """
    return next((c for c in evidence.comparisons if c.reference == reference and c.dim == dim), None)
