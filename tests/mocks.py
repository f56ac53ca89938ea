"""Mocks of the MLflow tracker and the progress display that a scheduler reports to."""

from unittest.mock import create_autospec

from embsweep.reports.progress import LineProgress
from embsweep.tracking.tracker import Tracker


def make_mocks(*, record_count=7, has_lost_records=False):
    """Return a tracker that has received `record_count` records so far, and a progress display."""
    tracker = create_autospec(Tracker, instance=True, record_count=record_count)
    tracker.has_lost_records.return_value = has_lost_records
    return tracker, create_autospec(LineProgress, instance=True)
