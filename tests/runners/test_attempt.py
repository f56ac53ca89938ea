"""An attempt ends exactly once, whatever the trial raises; exceptions that are not the trial's are passed on."""

import threading

import pytest

from embsweep.runners.attempt import run_attempt
from embsweep.training.failures import format_error
from embsweep.training.messages import AttemptAborted, Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted
from embsweep.training.resume import StaleAttempt

GOOD = TrialReport(0.5, 1, 0.5, 0.4, 0.4, 0.5, {64: {"map@100": 0.4}}, 0.1, 1e-5, 1.0)


class Listener:
    """A reporter that records its calls; `report` raises `error` if one is given."""

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
        return result or TrialResult(Outcome.COMPLETE, 0.4, None, 1.0)

    return trial_fn


def run(trial_fn, job):
    listener = Listener()
    run_attempt(trial_fn, job, listener)
    (result,) = listener.results
    return listener, result


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), MemoryError(), SystemExit(3), SystemExit()], ids=repr)
def test_an_exception_of_the_trial_is_its_reason(job, error):
    _, result = run(raising(error), job)
    assert (result.outcome, result.reason) == (Outcome.FAILED, format_error(error))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), StaleAttempt("attempt 2 has started")])
def test_exceptions_that_are_not_the_trials_are_passed_on(job, error):
    """In the main thread, where an interrupt is the user's."""
    listener = Listener()
    with pytest.raises(type(error)):
        run_attempt(raising(error), job, listener)
    assert listener.results == []


@pytest.mark.parametrize(("error", "ends"), [(KeyboardInterrupt(), 1), (GeneratorExit(), 1), (StaleAttempt("2"), 0)])
def test_an_interrupt_in_a_worker_thread_is_the_trials(job, error, ends):
    """Such a thread receives no signals."""
    listener, passed_on = Listener(), []

    def attempt():
        try:
            run_attempt(raising(error), job, listener)
        except BaseException as raised:
            passed_on.append(raised)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert len(listener.results) == ends
    assert len(passed_on) == 1 - ends
    assert all(result.reason == type(error).__name__ for result in listener.results)


@pytest.mark.parametrize("error", [AttemptAborted(), KeyboardInterrupt()])
def test_the_reporter_may_end_the_attempt(job, error):
    """Nothing receives a result after that."""
    listener = Listener(error)
    with pytest.raises(type(error)):
        run_attempt(reporting(GOOD), job, listener)
    assert listener.results == []


def test_valid_report_and_result_are_passed_on_unchanged(job):
    end = TrialResult(Outcome.COMPLETE, 0.4, "best", 1.0)
    listener, result = run(reporting(GOOD, end), job)
    assert listener.reports == [GOOD]
    assert result is end
