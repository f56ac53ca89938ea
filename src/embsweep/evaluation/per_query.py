"""Store each query's score at the best evaluation of a trial beside its weights, for paired comparisons."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from embsweep.core.errors import CodedError, omit_unsafe_advice
from embsweep.core.files import open_atomic
from embsweep.selection.scores import PerQuery, Scores

_TOLERANCE = 1e-9


def save_per_query(path: Path, values: PerQuery) -> None:
    """Write `values` to `path` atomically (npz, one float64 array per dimension)."""
    with open_atomic(path) as file:
        np.savez(file, allow_pickle=False, **{str(dim): array for dim, array in values.items()})


def load_per_query(path: Path, scores: Scores, metric: str) -> PerQuery:
    """Read a file of `save_per_query`.

    Args:
        path: The file.
        scores: The recorded scores.
        metric: The metric of the values.

    Raises:
        EmbsweepError: If the file cannot be read, or its means are not the recorded `scores`.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {int(dim): stored[dim].astype(np.float64) for dim in stored.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CodedError("unreadable", f"{path}: cannot be read ({omit_unsafe_advice(str(error))})") from None
    for dim, by_metric in scores.items():
        found = float(np.mean(values[dim])) if dim in values else None
        # In this form NaN is refused: every comparison with it is false.
        if found is None or not abs(found - by_metric[metric]) <= _TOLERANCE:
            raise CodedError(
                "not-reproduced", f"{path}: {metric} at {dim} is {found}, but {by_metric[metric]} was recorded"
            )
    return values
