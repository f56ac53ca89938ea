"""Listeners of a sweep's scheduler: the screen and MLflow, both views of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embsweep.reports.progress import Progress
from embsweep.search.ledger import Ledger
from embsweep.search.record import TrialRecord
from embsweep.sweep.phase import run_ref
from embsweep.sweep.presentation import build_view
from embsweep.sweep.projection import project_trial
from embsweep.sweep.scheduler import Listener
from embsweep.tracking.sync import MlflowSync


def show_events(progress: Progress, ledger: Ledger, notes: Mapping[str, Any] | None = None) -> Listener:
    """Return a listener that shows each event with the table of all runs.

    Args:
        progress: The display.
        ledger: The ledger of the phase.
        notes: Metadata of the phase, by default that of `ledger`.
    """

    def show(record: TrialRecord, event: str) -> None:
        if event:
            view = build_view(dict(ledger.metadata if notes is None else notes), ledger.trials)
            progress.update(view, f"{run_ref(ledger.study, record).name} {event}")

    return show


def track_events(tracking: MlflowSync, search: Ledger, study: str) -> Listener:
    """Return a listener that passes the state of the run to MLflow.

    Args:
        tracking: Writes the states.
        search: The ledger of the search, with the sweep's metadata.
        study: Study of the runs.
    """

    def track(record: TrialRecord, event: str) -> None:
        tracking.put(project_trial(search.metadata, study, record))

    return track
