"""Holdout evaluations of other sweeps on the same data are counted, whatever the format of their ledger."""

import optuna
import pytest

from embsweep.search.record import METADATA, STUDY
from embsweep.search.storage import open_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.holdout import count_previous_evaluations

SAME, OTHER = ({"data fingerprint": fingerprint} for fingerprint in ("same", "other"))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"ledger_format": 2, "identity": SAME, "holdout_evaluations": [1, 2]}, 2),
        ({"identity": SAME, "looks": [1, 2, 3]}, 3),
        ({"identity": OTHER, "looks": [1, 2, 3]}, 0),
        ({"identity": SAME}, 0),
    ],
)
def test_evaluations_of_another_sweep_count(tmp_path, metadata, expected):
    path = SweepFolder(tmp_path, "earlier").ledger
    path.parent.mkdir(parents=True)
    optuna.create_study(storage=open_storage(path), study_name=STUDY).set_user_attr(METADATA, metadata)
    assert count_previous_evaluations(SweepFolder(tmp_path, "mine"), "same", pytest.fail) == expected
