"""One attempt ends exactly once, whatever the trial raises; what is not the trial's passes through."""

import dataclasses
import math
import threading

import pytest

from embsweep.runners.attempt import run_attempt
from embsweep.training.failures import format_error
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted
from embsweep.training.resume import StaleAttempt

GOOD = TrialReport(0.5, 1, 0.5, 0.4, 0.4, 0.5, {64: {"map@100": 0.4}}, 0.1, 1e-5, 1.0)


class Listener:
    """Remembers; raises `error` out of `report` where one is given."""

    def __init__(self, error=None):
        self.error = error
        self.reports, self.results = [], []

    def start(self, started): ...

    def report(self, report):
        if self.error is not None:
            raise self.error
        self.reports.append(report)
        return False

    def finish(self, result):
        self.results.append(result)


@pytest.fixture
def job(make_config, tmp_path):
    return TrialSpec(number=0, attempt=1, config=make_config().trial, folder=str(tmp_path))


def raising(error):
    def trial_fn(job, reporter):
        reporter.start(TrialStarted(1, "here", 0.0, 0.0, 0.0))
        raise error

    return trial_fn


def reporting(report, result=None):
    def trial_fn(job, reporter):
        reporter.report(report)
        reporter.finish(result or TrialResult(Outcome.COMPLETE, 0.4, None, None, 1.0))

    return trial_fn


def run(trial_fn, job):
    listener = Listener()
    run_attempt(trial_fn, job, listener)
    (result,) = listener.results
    return listener, result


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), MemoryError(), SystemExit(3), SystemExit()], ids=repr)
def test_what_it_raises_is_its_reason(job, error):
    _, result = run(raising(error), job)
    assert (result.outcome, result.reason) == (Outcome.FAILED, format_error(error))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), StaleAttempt("attempt 2 goes on")])
def test_what_is_not_its_own_passes_through(job, error):
    """In the main thread: an interrupt there is the user's."""
    listener = Listener()
    with pytest.raises(type(error)):
        run_attempt(raising(error), job, listener)
    assert listener.results == []


@pytest.mark.parametrize(("error", "ends"), [(KeyboardInterrupt(), 1), (GeneratorExit(), 1), (StaleAttempt("2"), 0)])
def test_a_thread_of_a_worker_gets_no_signals(job, error, ends):
    listener, left = Listener(), []

    def attempt():
        try:
            run_attempt(raising(error), job, listener)
        except BaseException as passed:
            left.append(passed)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert len(listener.results) == ends
    assert len(left) == 1 - ends
    assert all(result.reason == type(error).__name__ for result in listener.results)


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_who_listens_may_end_it(job, error):
    """Tune says *stop* by SystemExit: nobody is there any more to hear that the trial has failed."""
    listener = Listener(error)
    with pytest.raises(type(error)):
        run_attempt(reporting(GOOD), job, listener)
    assert listener.results == []


def altered(**changes):
    return dataclasses.replace(GOOD, **changes)


@pytest.mark.parametrize(
    ("report", "named"),
    [
        (altered(objective=math.nan), ("objective", "nan", "1")),
        (altered(best_objective=math.inf), ("best_objective", "inf", "1")),
        (altered(scores={64: {"ndcg@10": 0.1}}), ("map@100", "64")),
        (altered(scores={64: {"map@100": 0.1}, 32: {}}), ("map@100", "32")),
        (altered(scores={64: {"map@100": -math.inf}}), ("map@100", "64", "-inf")),
    ],
)
def test_no_report_without_numbers_leaves_it(job, report, named):
    listener, result = run(reporting(report), job)
    assert result.outcome == Outcome.FAILED
    assert {*named} <= {*result.reason.split()}
    assert listener.reports == []


@pytest.mark.parametrize("best", [None, math.nan, math.inf])
@pytest.mark.parametrize("outcome", [Outcome.COMPLETE, Outcome.STOPPED])
def test_nor_an_end_without_one(job, best, outcome):
    _, result = run(reporting(GOOD, TrialResult(outcome, best, None, None, 1.0)), job)
    assert result.outcome == Outcome.FAILED
    assert str(best) in result.reason.split()
    assert result.best_objective is None


def test_a_good_one_passes_unchanged(job):
    end = TrialResult(Outcome.COMPLETE, 0.4, {64: {"map@100": 0.4}}, "best", 1.0)
    listener, result = run(reporting(GOOD, end), job)
    assert listener.reports == [GOOD]
    assert result is end
