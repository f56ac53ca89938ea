"""MLflow and the screen, as far as a desk talks to them: they only listen."""

from unittest.mock import create_autospec

from embsweep.reports.progress import LineProgress
from embsweep.tracking.tracker import Tracker


def make_listeners(*, told=7, has_lost=False):
    """A recorder that was told `told` records so far, and a progress."""
    recorder = create_autospec(Tracker, instance=True, told=told)
    recorder.has_lost.return_value = has_lost
    return recorder, create_autospec(LineProgress, instance=True)
