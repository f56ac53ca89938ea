"""Convert ledger records to the view of a sweep that is displayed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from embsweep.reports.view import SweepView, TrialRow
from embsweep.search.record import TrialRecord


def build_view(notes: dict[str, Any], records: Sequence[TrialRecord]) -> SweepView:
    """Build the view of a sweep from its ledger's records and metadata (`notes`, written by `sweep.run`)."""
    baseline = notes.get("baseline")
    return SweepView(
        name=notes["name"],
        title=notes["title"],
        objective=notes["objective"],
        baseline=baseline["objective"] if baseline else None,
        requested_trials=notes["requested_trials"],
        slots=notes["slots"],
        rows=tuple(_to_row(record) for record in records),
    )


def _to_row(record: TrialRecord) -> TrialRow:
    facts = record.attributes
    begin, end = facts.get("started_at"), facts.get("ended_at")
    if begin is not None and end is None and not record.is_finished:
        end = time.time()
    return TrialRow(
        number=record.number,
        state=record.state,
        best=record.best,
        fraction=record.fraction,
        params=describe_params(record),
        elapsed_s=max(0.0, end - begin) if begin is not None and end is not None else None,
        note=str(facts.get("reason", "")),
    )


def describe_params(record: TrialRecord) -> str:
    """Return the last part of each swept key with its value: `learning_rate=2.1e-05 loss=mnrl`."""
    return " ".join(
        f"{key.rsplit('.', 1)[-1]}={value:.3g}" if isinstance(value, float) else f"{key.rsplit('.', 1)[-1]}={value}"
        for key, value in record.params.items()
    )
