"""Each query's score at the best evaluation of a trial, beside its weights: what comparisons are made of."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np

from embsweep.core.errors import CodedError
from embsweep.core.files import open_whole
from embsweep.selection.scores import PerQuery, Scores

_TOLERANCE = 1e-9


def save_per_query(path: Path, values: PerQuery) -> None:
    """Write `values` to `path` (npz, one float64 array a dimension), whole or not at all."""
    with open_whole(path) as file:
        np.savez(file, allow_pickle=False, **{str(dim): array for dim, array in values.items()})


def copy_per_query(source: Path, path: Path) -> None:
    """A file of `save_per_query` in another place, whole or not at all."""
    with source.open("rb") as old, open_whole(path) as new:
        shutil.copyfileobj(old, new)


def load_per_query(path: Path, scores: Scores, metric: str) -> PerQuery:
    """What `save_per_query` wrote. EmbsweepError if it cannot be read or its means are not the recorded `scores`."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {int(dim): stored[dim].astype(np.float64) for dim in stored.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CodedError("unreadable", f"{path}: cannot be read ({error})") from None
    for dim, by_metric in scores.items():
        found = float(np.mean(values[dim])) if dim in values else None
        # Asked this way round NaN is refused: it compares as false with everything.
        if found is None or not abs(found - by_metric[metric]) <= _TOLERANCE:
            said = f"{path}: {metric} at {dim} is {found}, but {by_metric[metric]} was recorded"
            raise CodedError("not-reproduced", said)
    return values
