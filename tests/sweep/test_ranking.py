"""The ranking of finished trials: only those with an objective and weights, the best first, equals by number."""

import pytest

from embsweep.search.record import TrialRecord
from embsweep.sweep.folder import run_folder
from embsweep.sweep.scheduler import rank_trials

TRIALS = [
    (0, "complete", 0.5, True),
    (1, "failed", 0.9, True),
    (2, "stopped", 0.5, True),
    (3, "complete", 0.7, True),
    (4, "complete", None, True),
    (5, "complete", 0.8, False),
    (6, "running", 0.9, True),
    (7, "stopped", -0.1, True),
]


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_come_first_whatever_the_order_of_arrival(tmp_path, order):
    records = []
    for number, state, best, has_weights in TRIALS[::order]:
        records.append(TrialRecord(number, state, {}, best, 1.0, {}))
        if has_weights:
            (run_folder(tmp_path, number) / "best").mkdir(parents=True)
    assert rank_trials(records, tmp_path) == [3, 0, 2, 7]
