"""Requests to MLflow: writing to a run, and searching for runs.

Metrics and tags are written in one batch, parameters only once. Runs are found by their tags, so that a resumed sweep
creates no duplicates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embsweep.core.redaction import redact
from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.store import Store
from embsweep.tracking.values import batches

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

_DIGEST_CHARS = 16  # MLflow accepts 36, but its tables show the digest in full
_BATCH_METRICS = 1000  # the most that MLflow accepts in one request
_MOST_RUNS = 50_000  # the most that MLflow returns in one answer; no sweep has as many


@dataclass(frozen=True)
class MetricBatch:
    """Values of metrics with a common timestamp (ms since the epoch) and step."""

    values: Mapping[str, float]
    at_ms: int
    step: int = 0


def write(client: MlflowClient, run_id: str, *points: MetricBatch, tags: Mapping[str, str] | None = None) -> None:
    """Write metrics and tags in one request, or in several if the metrics are too many; the tags are in the last one.

    Args:
        client: Client of the store.
        run_id: Run to write to.
        *points: Metrics; values that are not finite are left out.
        tags: Tags to set.
    """
    from mlflow.entities import Metric, RunTag

    metrics = [
        Metric(name, value, point.at_ms, point.step)
        for point in points
        for name, value in point.values.items()
        if math.isfinite(value)  # MLflow's SQL store keeps inf as 1.8e308, which sorts first, and returns NaN as 0.0
    ]
    for start in range(0, len(metrics) - _BATCH_METRICS, _BATCH_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH_METRICS], synchronous=True)
    last = metrics[-(len(metrics) % _BATCH_METRICS or _BATCH_METRICS) :]
    if metrics or tags:
        run_tags = [RunTag(name, redact(value)) for name, value in (tags or {}).items()]
        client.log_batch(run_id, metrics=last, tags=run_tags, synchronous=True)


def log_missing_params(client: MlflowClient, run_id: str, params: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Log the parameters that a run lacks. Parameters are immutable in MLflow, so existing ones are not changed.

    Args:
        client: Client of the store.
        run_id: Run to write to.
        params: All parameters, flat.
        known: Parameters that the run already has.
    """
    from mlflow.entities import Param

    missing = {key: value for key, value in params.items() if key not in known}
    for portion in batches(missing):
        client.log_batch(run_id, params=[Param(key, value) for key, value in portion.items()], synchronous=True)


def dataset_input(facts: DatasetRecord) -> DatasetInput:
    """Convert the description of the data to MLflow's dataset entity, with the sizes as its profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=facts.name,
        digest=facts.fingerprint[:_DIGEST_CHARS],
        source_type="local",
        source=json.dumps({"uri": redact(facts.source)}),
        profile=json.dumps(dict(facts.sizes)),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def find_runs(store: Store, tags: Mapping[str, str]) -> list[Run]:
    """Find the runs of the store's experiment that have all of `tags`, oldest first, without deleted runs.

    Args:
        store: Store with the experiment.
        tags: Tags with the values that they must have; MLflow's filter syntax cannot express one with a quote.
    """
    terms = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(
        store.client.search_runs(
            [store.experiment_id], terms, max_results=_MOST_RUNS, order_by=["attributes.start_time ASC"]
        )
    )
