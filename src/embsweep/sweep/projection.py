"""Views of a sweep, derived from its ledger alone: what MLflow must say, and what the screen shows.

Pure functions of the ledger's records and metadata, so that any MLflow can be made to say it at any time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embsweep.core.mappings import flatten
from embsweep.core.redaction import redact
from embsweep.reports.view import SweepView, TrialRow
from embsweep.search.read import explain_damage, read_metadata, read_phases
from embsweep.search.record import CONFIG, IMPORTANCE, PROMOTION, STUDY, TrialRecord
from embsweep.selection.scores import scores_from_json
from embsweep.sweep.note import describe_sweep_run
from embsweep.tracking.records import DatasetRecord, SweepIdentity
from embsweep.tracking.requests import MetricBatch
from embsweep.tracking.runs import RUNNING, SCHEDULED, SWEEP, RunRef, RunState
from embsweep.tracking.values import flatten_params, report_metrics, score_metrics, to_name
from embsweep.tracking.views import PHASE_TAG, STATE_TAG, TrialsView

_REASON_CHARS = 2000

REPORT = "report"
"""Metadata of a search: sha256 of the report that was written at its end; absent without one."""


def project_sweep(metadata: Mapping[str, Any], runs: Sequence[RunState] = ()) -> RunState:
    """Return the state of the sweep's own run.

    Args:
        metadata: Metadata of the search's study.
        runs: States of the other runs. If the winner's is among them, the description links to it.
    """
    facts, identity = metadata["tracking"], read_identity(metadata)
    started_ms = _to_ms(facts["started_at"])
    baseline, result = metadata.get("baseline"), metadata.get("result")
    linked = None if result is None else _find_winner(result, runs)
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
        tags=identity.tags | facts["tags"] | facts.get("run_tags", {}),
        metrics=tuple(metrics),
        final=result["summary"] if result is not None else {},
        dataset=DatasetRecord(**facts["dataset"]),
        texts=facts["texts"] | _importance_text(metadata),
        files={} if REPORT not in metadata else {"report.html": metadata[REPORT]["sha256"]},
        experiment_tags=_view_tag(metadata),
        note=describe_sweep_run(metadata, has_run=linked is not None),
        linked=linked,
    )


def project_trial(metadata: Mapping[str, Any], study: str, record: TrialRecord) -> RunState:
    """Return the state of the run of one trial.

    A stopped trial is FINISHED with the tag `embsweep.outcome=stopped`, a failed one FAILED with its reason. A paused
    trial is SCHEDULED, also when the sweep does not run; another open trial of such a sweep has the sweep's status.
    `embsweep.state` is the state in words, with the rung, and `embsweep.phase` is search or confirmation.

    Args:
        metadata: Metadata of the search's study.
        study: Study of the trial, of the search or of a confirmation.
        record: The trial's record.
    """
    child, identity, own = run_ref(study, record), read_identity(metadata), record.attributes
    started_ms = _to_ms(own.get("started_at", record.created_at))
    status, ended_ms = metadata["status"], _ended_ms(metadata)
    if record.is_finished:
        status, ended_ms = "FAILED" if record.state == "failed" else "FINISHED", _to_ms(own["ended_at"])
    elif record.state == "paused":
        status, ended_ms = SCHEDULED, None
    texts = {f"embsweep.{to_name(k)}": str(v) for k, v in record.facts.items() if not isinstance(v, int | float)}
    phase = {PHASE_TAG: "search" if study == STUDY else "confirmation"}
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
        status=status,
        started_ms=_to_ms(record.created_at),
        ended_ms=ended_ms,
        params=flatten_params(_params(record)),
        tags=identity.tags | metadata["tracking"].get("run_tags", {}) | phase | texts | attempt | _state_tags(record),
        metrics=tuple(metrics),
        final={"best_objective": float(record.best or 0.0)} if has_value else {},
    )


def project_ledger(path: Path) -> tuple[RunState, ...]:
    """Return the state of every run of a sweep, its own first; nothing if its ledger has nothing to track yet.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read.
    """
    phases, metadata = read_phases(path), read_metadata(path)
    if "tracking" not in metadata:
        return ()
    with explain_damage(path):
        trials = [project_trial(metadata, study, record) for study, records in phases.items() for record in records]
        return (project_sweep(metadata, trials), *trials)


def run_ref(study: str, record: TrialRecord) -> RunRef:
    """Return the MLflow run of a ledger record.

    Args:
        study: Study of the record: of the search, or of a confirmation.
        record: The record.
    """
    if study == STUDY:
        return RunRef(("trial", record.number), f"trial {record.number}")
    fold = f", fold {record.params['fold']}" if "fold" in record.params else ""
    return RunRef(
        (study, record.number), f"confirmation of trial {record.params['trial']}, seed {record.params['seed']}{fold}"
    )


def read_identity(metadata: Mapping[str, Any]) -> SweepIdentity:
    """Return the identity of a sweep from the metadata of its search."""
    return SweepIdentity(study_id=metadata["study_id"], **metadata["tracking"]["identity"])


def _importance_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    found = metadata.get(IMPORTANCE)
    return {} if found is None else {"importance.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n"}


def _find_winner(result: Mapping[str, Any], runs: Sequence[RunState]) -> RunState | None:
    """Return key, name and start of the run with the winner's weights, as it is created in MLflow."""
    role, number = result.get("run", ("", None))
    for run in runs:
        if run.key == (role, number):
            return RunState(run.key, run.study, run.name, RUNNING, run.started_ms)
    return None


def _view_tag(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the saved view of the sweep's trials; nothing for a ledger of before there were views."""
    facts, identity = metadata["tracking"], read_identity(metadata)
    if "view" not in facts:
        return {}
    view = TrialsView(identity.name, identity.study_id, created_ms=_to_ms(facts["started_at"]), **facts["view"])
    return view.tag


def _fact_metrics(attempt: int, facts: Mapping[str, Any]) -> MetricBatch:
    """Return the facts of one attempt that are numbers, with its number as their step: MLflow shows the last one's."""
    numbers = {to_name(k): float(v) for k, v in facts.items() if isinstance(v, int | float) and k != "started_at"}
    return MetricBatch(numbers, _to_ms(facts["started_at"]), attempt)


def _params(record: TrialRecord) -> Mapping[str, Any]:
    """Return a run's parameters, with swept groups (`matryoshka=halving`), which are not keys of the configuration."""
    groups = {key: value for key, value in record.params.items() if "." not in key}
    config = record.attributes.get(CONFIG)
    return record.params if config is None else dict(flatten(config)) | groups


def _state_tags(record: TrialRecord) -> dict[str, str]:
    state = {STATE_TAG: describe_state(record)}
    if not record.is_finished:
        return state
    reason = record.attributes.get("reason")
    return (
        state
        | {"embsweep.outcome": record.state}
        | ({"embsweep.reason": redact(reason)[:_REASON_CHARS]} if reason else {})
    )


def _ended_ms(metadata: Mapping[str, Any]) -> int | None:
    return None if metadata["status"] == RUNNING else _to_ms(metadata["ended_at"])


def _to_ms(seconds: float) -> int:
    return round(seconds * 1000)


def build_view(notes: dict[str, Any], records: Sequence[TrialRecord]) -> SweepView:
    """Build the view of a sweep from its ledger's records and metadata (`notes`, written by `sweep.run`)."""
    baseline = notes.get("baseline")
    return SweepView(
        name=notes["name"],
        title=notes["title"],
        baseline=baseline["objective"] if baseline else None,
        requested_trials=notes["requested_trials"],
        slots=notes["slots"],
        rows=tuple(_to_row(record) for record in records),
        has_rungs=any(PROMOTION in record.attributes for record in records),
    )


def _to_row(record: TrialRecord) -> TrialRow:
    facts = record.attributes
    begin, end = facts.get("started_at"), facts.get("ended_at")
    if record.state == "running":
        is_starting = begin is not None and end is not None and begin <= end  # times before its last pause
        begin, end = None if is_starting else begin, time.time()
    return TrialRow(
        number=record.number,
        state=record.state,
        best=record.best,
        fraction=record.fraction,
        params=describe_params(record),
        elapsed_s=max(0.0, end - begin) if begin is not None and end is not None else None,
        note=str(facts.get("reason", "")),
        label=describe_state(record),
    )


def describe_state(record: TrialRecord) -> str:
    """Return the state of a trial in words, with the rung to which it runs or at which it has paused."""
    if record.is_promoted:
        return f"promoted to {record.runs_until:.0%}"
    if record.state == "paused":
        return f"paused at {record.fraction:.0%}"
    return (
        f"running to {record.runs_until:.0%}" if record.state == "running" and record.runs_until < 1 else record.state
    )


def describe_params(record: TrialRecord) -> str:
    """Return the last part of each swept key with its value: `learning_rate=2.1e-05 loss=mnrl`.

    A key that the trial's group options do not use, which is null in its configuration, is left out.
    """
    return " ".join(
        f"{key.rsplit('.', 1)[-1]}={value:.3g}" if isinstance(value, float) else f"{key.rsplit('.', 1)[-1]}={value}"
        for key, value in record.active_params.items()
    )
