"""Read what happened in a search from the ledger of a sweep, whatever its state, for the charts of the report."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from embsweep.reports.html.search_history import (
    Attempt,
    ConfirmationRun,
    HistoryReport,
    HistoryShare,
    HistoryTrial,
    SearchHistory,
    TargetShares,
)
from embsweep.search.confirmation import was_dropped
from embsweep.search.fidelity import hold_to_end, rung_values
from embsweep.search.importance import read_importance
from embsweep.search.pruners import STEPS_PER_SCHEDULE
from embsweep.search.read import explain_damage, read_space, read_studies
from embsweep.search.record import HAS_RECIPE, IMPORTANCE, RUNGS, STUDY, TrialRecord
from embsweep.sweep.folder import SweepFolder
from embsweep.tracking.runs import RUNNING


def read_search_history(folder: SweepFolder) -> SearchHistory | None:
    """Return what happened in a sweep; None if it has recorded nothing yet. The ledger is not changed.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read.
    """
    studies = read_studies(folder.ledger)
    metadata, records = studies.get(STUDY, ({}, ()))
    if "name" not in metadata:
        return None
    fresh = [record for name, (_, runs) in studies.items() if name != STUDY for record in runs]
    with explain_damage(folder.ledger):
        clock = LedgerClock(find_last_event([*records, *fresh]), _find_interruption(metadata))
        finalists = {int(record.params["trial"]) for record in fresh if not was_dropped(record)}
        return SearchHistory(
            name=metadata["name"],
            status=metadata.get("status", RUNNING),
            objective=metadata["objective"],
            metric=metadata["identity"]["objective.metric"],
            requested_trials=metadata["requested_trials"],
            slots=metadata["slots"],
            space=read_space(folder.ledger),
            trials=_to_trials(records, metadata, clock, finalists),
            baseline=(metadata.get("baseline") or {}).get("objective"),
            rungs=tuple(step / STEPS_PER_SCHEDULE for step in metadata.get(RUNGS, ())),
            confirmation=tuple(_to_run(record, clock) for record in fresh),
            importance=_read_importance(folder, metadata),
        )


@dataclass(frozen=True)
class LedgerClock:
    """Times of a ledger, in seconds since the epoch: its last event, and the end of an interrupted sweep."""

    last_event: float
    interrupted_at: float | None = None


def _find_interruption(metadata: Mapping[str, Any]) -> float | None:
    return float(metadata["ended_at"]) if metadata.get("status") in ("KILLED", "FAILED") else None


def _to_trials(
    records: Sequence[TrialRecord], metadata: Mapping[str, Any], clock: LedgerClock, finalists: Collection[int]
) -> tuple[HistoryTrial, ...]:
    at_rungs = _compare_at_rungs(records, metadata.get(RUNGS, ()))
    winner = _find_winner(metadata)
    return tuple(
        replace(
            _to_trial(record, metadata, clock),
            at_rungs=at_rungs.get(record.number, {}),
            is_winner=record.number == winner,
            is_finalist=record.number == winner or record.number in finalists,
        )
        for record in records
    )


def _compare_at_rungs(records: Sequence[TrialRecord], rungs: Sequence[int]) -> dict[int, Mapping[int, float]]:
    """Return each trial's values at the rungs, as `search.promotion` compares them."""
    compared = [record for record in records if record.state != "failed"]
    curves = [hold_to_end(record.reached) if record.state == "complete" else record.reached for record in compared]
    values = rung_values(curves, rungs) if rungs else [{} for _ in compared]
    return {record.number: found for record, found in zip(compared, values, strict=True)}


def _to_trial(record: TrialRecord, metadata: Mapping[str, Any], clock: LedgerClock) -> HistoryTrial:
    metric = metadata["identity"]["objective.metric"]
    return HistoryTrial(
        number=record.number,
        state=record.state,
        params=dict(record.active_params),
        objective=record.best,
        fraction=max((report.fraction for report in record.reports), default=record.fraction),
        scores={dim: found[metric] for dim, found in sorted(record.scores.items(), reverse=True)},
        reports=tuple(HistoryReport(r.fraction, r.best_objective, r.reported_at) for r in record.reports),
        attempts=list_attempts(record, clock),
        is_recipe=record.number == 0 and _has_recipe(metadata),
    )


def _find_winner(metadata: Mapping[str, Any]) -> int | None:
    """Return the winner's number; None while a finished sweep is being extended."""
    result = metadata.get("result") if metadata.get("status") == "FINISHED" else None
    return None if result is None else int(result["winner"])


def _has_recipe(metadata: Mapping[str, Any]) -> bool:
    """Return whether trial 0 is the recipe; an older ledger says only whether it was asked for."""
    search = metadata.get("tracking", {}).get("params", {}).get("search", {})
    return bool(metadata.get(HAS_RECIPE, search.get("recipe_first", False)))


def _to_run(record: TrialRecord, clock: LedgerClock) -> ConfirmationRun:
    fold = record.params.get("fold")
    return ConfirmationRun(
        trial=int(record.params["trial"]),
        seed=int(record.params["seed"]),
        fold=None if fold is None else int(fold),
        state=record.state,
        objective=record.best,
        attempts=list_attempts(record, clock),
    )


def list_attempts(record: TrialRecord, clock: LedgerClock) -> tuple[Attempt, ...]:
    """Return when a run was training, from its first start to its last."""
    starts = [(float(facts["started_at"]), str(facts.get("device", ""))) for facts in record.all_facts.values()]
    limits = [start for start, _ in starts[1:]]
    earlier = [
        Attempt(start, _last_report(record, start, limit), device)
        for (start, device), limit in zip(starts, limits, strict=False)
    ]
    return (*earlier, _last_attempt(record, *starts[-1], clock)) if starts else ()


def _last_attempt(record: TrialRecord, start: float, device: str, clock: LedgerClock) -> Attempt:
    """Return the attempt that began at `start`; a promoted trial that has not started again ended with its pause."""
    ended_at = float(record.attributes.get("ended_at", 0.0))
    if ended_at >= start:
        return Attempt(start, ended_at, device)
    if record.state != "running":  # with another clock
        return Attempt(start, _last_report(record, start, clock.last_event), device)
    if clock.interrupted_at is not None:
        return Attempt(start, max(start, clock.interrupted_at), device)
    return Attempt(start, max(start, clock.last_event), device, is_open=True)


def _last_report(record: TrialRecord, start: float, limit: float) -> float:
    """Return the time of the last report from `start` to `limit`; `start` if there is none."""
    return max((r.reported_at for r in record.all_reports.values() if start <= r.reported_at <= limit), default=start)


def find_last_event(records: Sequence[TrialRecord]) -> float:
    """Return the time of the last start, report or end of any run, 0 without runs."""
    return max((time for record in records for time in _times(record)), default=0.0)


def _times(record: TrialRecord) -> Iterator[float]:
    yield record.created_at
    yield float(record.attributes.get("ended_at", 0.0))
    yield from (float(facts["started_at"]) for facts in record.all_facts.values())
    yield from (report.reported_at for report in record.all_reports.values())


def _read_importance(folder: SweepFolder, metadata: Mapping[str, Any]) -> tuple[TargetShares, ...]:
    """Return what mattered as the sweep has recorded it; computed if it has not, or may have been extended since."""
    is_recorded = IMPORTANCE in metadata and metadata.get("status") == "FINISHED"
    found = metadata[IMPORTANCE] if is_recorded else read_importance(folder.ledger).to_json()
    return tuple(
        TargetShares(
            name, target["trials"], {k: HistoryShare(**v) for k, v in target["shares"].items()}, target["reason"]
        )
        for name, target in found.items()
    )
