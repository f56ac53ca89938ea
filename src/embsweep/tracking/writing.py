"""The requests that write to a run: metrics and tags in one batch, parameters once, a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embsweep.redaction import redact
from embsweep.tracking.facts import DatasetFacts
from embsweep.tracking.values import batches, split_finite

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

_DIGEST_CHARS = 16  # MLflow takes 36; its tables show the digest in full
_TAG_CHARS = 5000


@dataclass(frozen=True)
class Points:
    """Values of metrics at one moment."""

    values: Mapping[str, float]
    at_ms: int
    step: int = 0


def write(client: MlflowClient, run_id: str, *points: Points, tags: Mapping[str, str] | None = None) -> None:
    """All points and tags in one request. Values that are not finite go, by name, to `embsweep.non_finite`."""
    from mlflow.entities import Metric, RunTag

    metrics: list[Metric] = []
    all_tags = dict(tags or {})
    non_finite: list[str] = []
    for point in points:
        finite, bad = split_finite(point.values)
        metrics += [Metric(name, value, point.at_ms, point.step) for name, value in finite.items()]
        non_finite += bad
    if non_finite:
        all_tags["embsweep.non_finite"] = ", ".join(non_finite)[:_TAG_CHARS]
    if metrics or all_tags:
        run_tags = [RunTag(name, value) for name, value in all_tags.items()]
        client.log_batch(run_id, metrics=metrics, tags=run_tags, synchronous=True)


def log_missing_params(client: MlflowClient, run_id: str, params: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Log the parameters that a run lacks. MLflow's are immutable: one that is there stays as it is."""
    from mlflow.entities import Param

    missing = {key: value for key, value in params.items() if key not in known}
    for portion in batches(missing):
        client.log_batch(run_id, params=[Param(key, value) for key, value in portion.items()], synchronous=True)


def dataset_input(facts: DatasetFacts) -> DatasetInput:
    """The data as MLflow's dataset entity, its sizes as the profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=facts.name,
        digest=facts.fingerprint[:_DIGEST_CHARS],
        source_type="local",
        source=json.dumps({"uri": redact(facts.source)}),
        profile=json.dumps(dict(facts.sizes)),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])
