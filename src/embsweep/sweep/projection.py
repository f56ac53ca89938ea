"""What MLflow must say about a sweep, derived from its ledger alone: one run for the sweep, one for each trial.

Pure functions of the ledger's records and metadata, so that any MLflow can be made to say it at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embsweep.core.redaction import redact
from embsweep.search.read import read_ledger, read_phases
from embsweep.search.record import CONFIG, TrialRecord
from embsweep.selection.scores import scores_from_json
from embsweep.sweep.identity import flatten
from embsweep.sweep.phase import run_ref
from embsweep.tracking.records import DatasetRecord, SweepIdentity
from embsweep.tracking.requests import MetricBatch
from embsweep.tracking.runs import RUNNING, SWEEP, RunState
from embsweep.tracking.values import flatten_params, report_metrics, score_metrics, to_name

_REASON_CHARS = 2000


def project_sweep(metadata: Mapping[str, Any]) -> RunState:
    """Return the state of the sweep's own run.

    Args:
        metadata: Metadata of the search's study.
    """
    facts, identity = metadata["tracking"], read_identity(metadata)
    started_ms = _to_ms(facts["started_at"])
    baseline, result = metadata.get("baseline"), metadata.get("result")
    metrics = []
    if baseline is not None:
        bm25 = {"bm25/map_at_100": float(baseline["bm25"]["map@100"])}
        metrics.append(MetricBatch(score_metrics(scores_from_json(baseline["scores"]), "baseline") | bm25, started_ms))
    return RunState(
        key=SWEEP,
        study=identity.study_id,
        name=identity.name,
        status=metadata["status"],
        started_ms=started_ms,
        ended_ms=_ended_ms(metadata),
        params=flatten_params(facts["params"]),
        tags=identity.tags | facts["tags"],
        metrics=tuple(metrics),
        final=result["summary"] if result is not None else {},
        dataset=DatasetRecord(**facts["dataset"]),
        texts=facts["texts"],
    )


def project_trial(metadata: Mapping[str, Any], study: str, record: TrialRecord) -> RunState:
    """Return the state of the run of one trial.

    A stopped trial is FINISHED with the tag `embsweep.outcome=stopped`, a failed one FAILED with its reason. An open
    trial of a sweep that does not run has the sweep's status.

    Args:
        metadata: Metadata of the search's study.
        study: Study of the trial, of the search or of a confirmation.
        record: The trial's record.
    """
    child, identity, own = run_ref(study, record), read_identity(metadata), record.attributes
    started_ms = _to_ms(own.get("started_at", record.created_at))
    ended_ms = _to_ms(own["ended_at"]) if record.is_finished else _ended_ms(metadata)
    texts = {f"embsweep.{to_name(k)}": str(v) for k, v in record.facts.items() if not isinstance(v, int | float)}
    attempt = {"embsweep.attempt": str(record.attempt), "embsweep.attempt_started_ms": str(started_ms)}
    metrics = [_fact_metrics(number, facts) for number, facts in record.all_facts.items()]
    metrics += [MetricBatch(report_metrics(r), _to_ms(r.reported_at), r.step) for r in record.all_reports.values()]
    if record.is_finished and record.scores:
        metrics.append(MetricBatch(score_metrics(record.scores, "best"), ended_ms or 0))
    has_value = record.is_finished and record.state != "failed" and record.best is not None
    return RunState(
        key=child.key,
        study=identity.study_id,
        name=child.name,
        status=("FAILED" if record.state == "failed" else "FINISHED") if record.is_finished else metadata["status"],
        started_ms=_to_ms(record.created_at),
        ended_ms=ended_ms,
        params=flatten_params(_params(record)),
        tags=identity.tags | texts | attempt | _end_tags(record),
        metrics=tuple(metrics),
        final={"best_objective": float(record.best or 0.0)} if has_value else {},
    )


def project_ledger(path: Path) -> tuple[RunState, ...]:
    """Return the state of every run of a sweep, its own first; nothing if its ledger has nothing to track yet.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read.
    """
    found = read_ledger(path)
    if found is None or "tracking" not in found[0]:
        return ()
    metadata = found[0]
    return (project_sweep(metadata), *project_trials(metadata, read_phases(path)))


def project_trials(metadata: Mapping[str, Any], phases: Mapping[str, tuple[TrialRecord, ...]]) -> Iterator[RunState]:
    """Yield the state of each trial's run.

    Args:
        metadata: Metadata of the search's study.
        phases: The records of each study.
    """
    for study, records in phases.items():
        yield from (project_trial(metadata, study, record) for record in records)


def read_identity(metadata: Mapping[str, Any]) -> SweepIdentity:
    """Return the identity of a sweep from the metadata of its search."""
    return SweepIdentity(study_id=metadata["study_id"], **metadata["tracking"]["identity"])


def _fact_metrics(attempt: int, facts: Mapping[str, Any]) -> MetricBatch:
    """Return the facts of one attempt that are numbers, with its number as their step: MLflow shows the last one's."""
    numbers = {to_name(k): float(v) for k, v in facts.items() if isinstance(v, int | float) and k != "started_at"}
    return MetricBatch(numbers, _to_ms(facts["started_at"]), attempt)


def _params(record: TrialRecord) -> Mapping[str, Any]:
    """Return a run's parameters, with swept groups (`matryoshka=halving`), which are not keys of the configuration."""
    groups = {key: value for key, value in record.params.items() if "." not in key}
    config = record.attributes.get(CONFIG)
    return record.params if config is None else dict(flatten(config)) | groups


def _end_tags(record: TrialRecord) -> dict[str, str]:
    if not record.is_finished:
        return {}
    reason = record.attributes.get("reason")
    return {"embsweep.outcome": record.state} | ({"embsweep.reason": redact(reason)[:_REASON_CHARS]} if reason else {})


def _ended_ms(metadata: Mapping[str, Any]) -> int | None:
    return None if metadata["status"] == RUNNING else _to_ms(metadata["ended_at"])


def _to_ms(seconds: float) -> int:
    return round(seconds * 1000)
