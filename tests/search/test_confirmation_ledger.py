"""The ledger of a confirmation: its runs are planned, and an earlier plan's runs are kept, resumed or given up."""

import pytest
from tests.ledgers import Database, Memory, open_search, report_at

from embsweep.config.search_space import IntRange
from embsweep.search.confirmation import ConfirmationLedger

POINTS = [{"trial": trial, "seed": seed} for seed in (1, 2) for trial in (4, 7)]


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.slow)])
def storage(request, tmp_path):
    return Memory() if request.param == "memory" else Database(tmp_path / "study.db")


@pytest.fixture
def memory():
    return Memory()


def open_plan(storage, points, **options):
    return ConfirmationLedger(storage.open(), "confirmation", points, **options)


def run_all(ledger):
    """Complete every run that is left, and return their points."""
    points = []
    while (record := ledger.ask()) is not None:
        ledger.complete(record.number, 0.5)
        points.append(record.params)
    return points


def test_runs_start_in_the_order_of_the_plan(memory):
    ledger = open_plan(memory, POINTS)
    assert [ledger.ask().params for _ in POINTS] == POINTS
    assert ledger.ask() is None
    assert [(r.number, r.state, r.attempt) for r in ledger.trials] == [(n, "running", 1) for n in range(4)]


def test_points_of_folds_have_their_fold(memory):
    points = [{"trial": 4, "seed": 1, "fold": fold} for fold in range(3)]
    assert run_all(open_plan(memory, points)) == points


def test_no_run_is_stopped_early(memory):
    ledger = open_plan(memory, POINTS)
    for value in (0.9, 0.1):
        assert not ledger.report(ledger.ask().number, report_at(0.25, value))


def test_an_interrupted_planned_run_resumes_under_its_number(storage):
    first = open_plan(storage, POINTS)
    first.complete(first.ask().number, 0.5)
    interrupted = first.ask()
    first.report(interrupted.number, report_at(0.25, 0.4))
    again = open_plan(storage, POINTS)
    record = again.ask()
    assert (record.number, record.params, record.attempt) == (1, POINTS[1], 2)
    assert record.reports == ()
    assert again.ask().params == POINTS[2]
    assert [r.number for r in again.trials] == [0, 1, 2]


def test_a_crash_inside_ask_leaves_no_run(storage, monkeypatch):
    def crash(*_, **__):
        raise KeyboardInterrupt

    ledger = open_plan(storage, POINTS)
    ledger.ask()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ledger._storage, "create_new_trial", crash)
        ledger.ask()
    again = open_plan(storage, POINTS)
    assert len(again.trials) == 1
    assert run_all(again) == POINTS


def test_runs_that_are_no_longer_planned_are_given_up_or_kept(storage):
    """The finalists have changed: finished runs stay as they are, interrupted ones fail with the reason."""
    first = open_plan(storage, POINTS)
    first.complete(first.ask().number, 0.5)
    failed, interrupted = first.ask().number, first.ask().number
    first.fail(failed, "scripted")
    again = open_plan(storage, [POINTS[0], {"trial": 9, "seed": 1}])
    assert run_all(again) == [{"trial": 9, "seed": 1}]
    assert [(r.number, r.state, r.attributes.get("reason")) for r in again.trials] == [
        (0, "complete", None),
        (failed, "failed", "scripted"),
        (interrupted, "failed", "no longer planned"),
        (3, "complete", None),
    ]
    assert again.record(interrupted).attributes["ended_at"] > 0


def test_a_run_that_was_given_up_is_run_again_if_it_is_planned_again(memory):
    first, second = POINTS[:1], POINTS[1:2]
    open_plan(memory, first).ask()
    for points in (second, first, second):
        again = open_plan(memory, points)
        record = again.ask()
        assert (record.params, record.attempt) == (points[0], 1)
    assert [r.state for r in again.trials] == ["failed", "failed", "failed", "running"]


@pytest.mark.parametrize("repeats", [True, False])
def test_only_named_runs_are_repeated_and_only_once(storage, repeats):
    ledger = open_plan(storage, POINTS[:2])
    ledger.fail(ledger.ask().number, "scripted")
    ledger.complete(ledger.ask().number, 0.5)
    assert open_plan(storage, POINTS[:2]).ask() is None, "a failure is final"
    again = open_plan(storage, POINTS[:2], again={0, 1} if repeats else ())
    expected = POINTS[:2] if repeats else []
    assert run_all(again) == expected
    assert again.ask() is None
    assert run_all(open_plan(storage, POINTS[:2], again={0, 1} if repeats else ())) == []


def test_an_interrupted_repetition_resumes_and_is_not_repeated(memory):
    ledger = open_plan(memory, POINTS[:1])
    ledger.fail(ledger.ask().number, "scripted")
    number = open_plan(memory, POINTS[:1], again={0}).ask().number
    again = open_plan(memory, POINTS[:1], again={0})
    record = again.ask()
    assert (record.number, record.attempt) == (number, 2)
    again.complete(number, 0.5)
    assert again.ask() is None


def test_the_search_does_not_see_the_runs_of_a_confirmation(memory):
    search = open_search(memory.open(), (IntRange("x", 0, 9),), trials=1)
    run_all(search)
    run_all(open_plan(memory, POINTS))
    assert len(search.trials) == 1
    assert search.is_exhausted
