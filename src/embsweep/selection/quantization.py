"""What stored embeddings cost and keep: bytes of a vector, retention, and the Pareto front of quality against bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from embsweep.selection.evidence import Precision, QuantizationRecord


def vector_bytes(dim: int, precision: Precision) -> int:
    """Return the bytes of one stored vector: 4, 2 and 1 for each value, and 1 for each 8 values of binary.

    What a store needs besides is left out: its index, the ids, and the int8 ranges (8 bytes for each dimension, once).
    """
    return {"float32": 4 * dim, "float16": 2 * dim, "int8": dim, "binary": math.ceil(dim / 8)}[precision]


def compute_retention(records: Sequence[QuantizationRecord]) -> tuple[float | None, ...]:
    """Return the share that each record keeps of the score of float32 at the largest dimension; None if that is 0.

    Raises:
        ValueError: If there is no record of float32.
    """
    reference = _find_reference(records)
    return tuple(record.score.mean / reference if reference else None for record in records)


def pareto_front(records: Iterable[QuantizationRecord]) -> tuple[QuantizationRecord, ...]:
    """Return the records to which no other is superior in bytes and score, from few bytes to many.

    Each has a higher score than the one before. Of several with equal bytes and score the fastest is returned.
    """
    front: list[QuantizationRecord] = []
    for record in sorted(records, key=lambda record: (record.bytes, -record.score.mean, record.search_ms)):
        if not front or record.score.mean > front[-1].score.mean:
            front.append(record)
    return tuple(front)


def find_smallest(records: Sequence[QuantizationRecord], *, least_retention: float) -> QuantizationRecord:
    """Return the record of the fewest bytes that keeps this share of the score of float32 at the largest dimension.

    Of several with equal bytes the best is returned. Means are compared: their intervals say how certain that is.

    Args:
        records: Records of one evaluation.
        least_retention: The share, at most 1.

    Raises:
        ValueError: If there is no record of float32, or none keeps the share.
    """
    required = least_retention * _find_reference(records) - 1e-9
    kept = [record for record in pareto_front(records) if record.score.mean >= required]
    if not kept:
        raise ValueError(f"no record keeps {least_retention:.0%}")
    return kept[0]


def _find_reference(records: Sequence[QuantizationRecord]) -> float:
    exact = [record for record in records if record.precision == "float32"]
    if not exact:
        raise ValueError("there is no record of float32 to compare with")
    return max(exact, key=lambda record: record.dim).score.mean
