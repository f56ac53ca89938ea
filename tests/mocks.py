"""MLflow and the screen, as far as a desk talks to them: they only listen."""

from unittest.mock import create_autospec

from embsweep.reports.progress import LineProgress
from embsweep.tracking.tracker import Tracker


def make_mocks(*, record_count=7, has_lost_records=False):
    """A recorder that was told `told` records so far, and a progress."""
    recorder = create_autospec(Tracker, instance=True, record_count=record_count)
    recorder.has_lost_records.return_value = has_lost_records
    return recorder, create_autospec(LineProgress, instance=True)
