"""Conversion of parameters and metrics to the types, names and limits of MLflow. Pure functions without MLflow."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import accumulate, groupby
from typing import Any

from embsweep.core.names import tracked_metric
from embsweep.core.redaction import redact
from embsweep.selection.scores import Scores
from embsweep.training.messages import TrialReport

# Limits of MLflow 3.17 (mlflow/utils/validation.py): 100 parameters and 1 MB per request, 6,000 characters per value.
_BATCH_ITEMS = 100
_BATCH_BYTES = 500_000
_VALUE_CHARS = 6000
_KEY_CHARS = 250
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. :/]")


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters to dotted keys with texts as values: null and true as in YAML, secrets masked."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten_params(value, f"{name}.")
        else:
            flat[to_name(name)] = _to_text(value)
    return flat


def to_name(name: str) -> str:
    """Convert `name` to a name that MLflow accepts: at most 250 characters, any other character replaced by `_`."""
    clean = _NOT_IN_NAMES.sub("_", name)[:_KEY_CHARS]
    normal = posixpath.normpath(clean).lstrip("/")  # MLflow rejects names that are not normalised paths
    return normal if normal not in ("", ".") and not normal.startswith("..") else normal.replace(".", "_") or "_"


def _to_text(value: Any) -> str:
    plain = value.value if isinstance(value, Enum) else value
    if isinstance(plain, list | tuple) and plain and all(isinstance(item, str | int | float) for item in plain):
        plain = ", ".join(str(item) for item in plain)  # MLflow's UI shows a JSON list with one line per item
    text = redact(plain if isinstance(plain, str) else json.dumps(plain, default=str, ensure_ascii=False))
    if len(text) <= _VALUE_CHARS:
        return text
    mark = f"… ({len(text)} characters)"
    return text[: _VALUE_CHARS - len(mark)] + mark


def batches(params: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Divide `params` into portions that fit into one request, by number and by size."""
    ends = accumulate(len(json.dumps({key: value})) for key, value in params.items())  # as in the request: escaped
    portions = {
        key: (index // _BATCH_ITEMS, end // _BATCH_BYTES)
        for index, (key, end) in enumerate(zip(params, ends, strict=True))
    }
    for _, keys in groupby(params, key=portions.__getitem__):
        yield {key: params[key] for key in keys}


def score_metrics(scores: Scores, prefix: str) -> dict[str, float]:
    """Convert scores to one metric per dimension and metric, `eval/dim_256/map_at_100`, in a fixed order."""
    return {
        tracked_metric(dim, metric, prefix=prefix): float(value)
        for dim in sorted(scores, reverse=True)
        for metric, value in scores[dim].items()
    }


def report_metrics(report: TrialReport) -> dict[str, float]:
    """Convert all values of one trial report to metrics."""
    own = {
        "objective": report.objective,
        "best_objective": report.best_objective,
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "epoch": report.epoch,
        "fraction": report.fraction,
    }
    return {name: float(value) for name, value in own.items() if value is not None} | score_metrics(
        report.scores, "eval"
    )
