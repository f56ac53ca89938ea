"""The view of a sweep: finished trials, the best trial, the remaining time."""

import pytest

from tests.reports.conftest import make_paused_view, make_view, row


def test_finished_is_all_but_running(view):
    assert [r.number for r in view.finished] == [0, 1, 2, 3]


def test_a_paused_trial_is_not_finished_and_leaves_no_remaining_time():
    view = make_paused_view()
    assert [r.number for r in view.finished] == [0]
    assert view.remaining_s() is None


def test_a_failed_trial_is_never_the_best(view):
    assert view.best.number == 2


def test_the_first_of_equal_trials_is_best():
    assert make_view(row(0, best=0.3), row(1, best=0.5), row(2, best=0.5)).best.number == 1


def test_a_running_trial_can_be_the_best():
    assert make_view(row(0, best=0.3), row(1, "running", 0.5)).best.number == 1


@pytest.mark.parametrize("rows", [(), (row(0, "running", None),), (row(0, "failed", 0.9),)])
def test_there_may_be_no_best_trial(rows):
    assert make_view(*rows).best is None


@pytest.mark.parametrize(
    ("rows", "requested", "slots", "seconds"),
    [
        ((), 10, 1, None),
        ((row(0, "running", None, elapsed_s=5.0),), 10, 1, None),
        ((row(0, elapsed_s=None),), 10, 1, None),
        ((row(0, elapsed_s=60.0), row(1, elapsed_s=30.0)), 10, 1, 8 * 45.0),
        ((row(0, elapsed_s=60.0), row(1, elapsed_s=30.0)), 10, 2, 4 * 45.0),
        ((row(0, elapsed_s=60.0),), 1, 1, 0.0),
    ],
)
def test_remaining_time(rows, requested, slots, seconds):
    assert make_view(*rows, requested_trials=requested, slots=slots).remaining_s() == seconds
