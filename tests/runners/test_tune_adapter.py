"""What stands between Tune and the desk, without a running Ray."""

from functools import partial
from types import SimpleNamespace

import pytest

from embsweep.core.errors import DiskFull
from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome, TrialResult, TrialStarted, to_text
from tests.doubles import reports_of

pytestmark = pytest.mark.slow  # importing Tune takes a second

STARTED = TrialStarted(1, "here", 0.0, 0.0, 0.0)
REPORT = reports_of(4)(2)
ENDED = TrialResult(Outcome.COMPLETE, 2.0, None, "best", 1.0)


@pytest.fixture
def parts(make_scheduler):
    """A desk with one open trial behind its guard, and Tune's searcher and scheduler over it."""
    from embsweep.runners.ray.runner import _TuneScheduler, _TuneSearcher
    from embsweep.runners.ray.tune_adapter import ExceptionCapturingScheduler

    scheduler = make_scheduler(2, should_stop=lambda number, report: number == 1)
    guarded = ExceptionCapturingScheduler(scheduler)
    searcher = _TuneSearcher(guarded, guarded.suggest())
    for trial_id in ("a", "b"):
        searcher.suggest(trial_id)
    return SimpleNamespace(
        scheduler=scheduler, guarded=guarded, searcher=searcher, tune_scheduler=_TuneScheduler(searcher)
    )


def hear(parts, trial_id, message, **more):
    result = {"message": to_text(message) if message else "", **more}
    return parts.tune_scheduler.on_trial_result(None, SimpleNamespace(trial_id=trial_id), result)


def test_messages_reach_the_scheduler_and_a_stop_comes_back(parts):
    assert hear(parts, "a", STARTED) == "CONTINUE"
    assert hear(parts, "a", REPORT) == "CONTINUE"
    assert hear(parts, "b", REPORT) == "STOP"
    assert (parts.scheduler.starts, parts.scheduler.reports) == ({0: STARTED}, {0: [REPORT], 1: [REPORT]})


def test_a_result_is_told_once_its_process_is_free(parts):
    hear(parts, "a", ENDED)
    assert not parts.scheduler.results
    parts.searcher.on_trial_complete("a", error=True)
    assert parts.scheduler.results == {0: ENDED}, "what Tune thinks of a finished trial is of no interest"
    assert not parts.scheduler.losses


def test_a_stopped_trial_is_finished_with_its_last_report(parts):
    hear(parts, "b", REPORT)
    parts.searcher.on_trial_complete("b")
    found = parts.scheduler.results[1]
    assert (found.outcome, found.best_objective) == (Outcome.STOPPED, REPORT.best_objective)
    assert found.checkpoint == str(parts.scheduler.jobs[1].best)


def test_a_stop_at_the_end_is_no_stop(parts):
    hear(parts, "b", reports_of(4)(4))
    parts.searcher.on_trial_complete("b")
    assert parts.scheduler.results[1].outcome == Outcome.COMPLETE


def test_a_process_that_is_lost_has_the_reason_it_could_still_give(parts):
    hear(parts, "a", None, **{"loss of the process": "its workers died"})
    for trial_id in ("a", "b"):
        parts.searcher.on_trial_complete(trial_id, error=True)
    assert parts.scheduler.losses[0] == ["its workers died"]
    (other,) = parts.scheduler.losses[1]
    assert other not in ("", "its workers died")


def test_an_interrupted_trial_stays_open(parts):
    parts.searcher.on_trial_complete("a")
    assert set(parts.searcher.open) == {"a", "b"}
    assert not parts.scheduler.results
    assert not parts.scheduler.losses


def test_no_trial_is_left_while_one_may_be_lost(parts):
    assert parts.searcher.suggest("c") is None
    hear(parts, "b", REPORT)
    parts.searcher.on_trial_complete("b")
    parts.searcher.on_trial_complete("a", error=True)
    assert parts.searcher.suggest("c")["number"] == 0
    hear(parts, "c", ENDED)
    parts.searcher.on_trial_complete("c")
    assert parts.searcher.suggest("d") == "FINISHED"
    assert parts.searcher.is_exhausted


CALLS = {
    "suggest": lambda parts: parts.searcher.suggest("c"),
    "on_trial_start": lambda parts: hear(parts, "a", STARTED),
    "on_trial_result": lambda parts: hear(parts, "b", REPORT),
    "on_trial_complete": lambda parts: (hear(parts, "a", ENDED), parts.searcher.on_trial_complete("a")),
    "on_trial_error": lambda parts: parts.searcher.on_trial_complete("a", error=True),
}


CALLS_OF_A_DESK = {
    "suggest": lambda scheduler: scheduler.suggest(),
    "on_trial_start": lambda scheduler: scheduler.on_trial_start(0, STARTED),
    "on_trial_result": lambda scheduler: scheduler.on_trial_result(0, REPORT),
    "on_trial_complete": lambda scheduler: scheduler.on_trial_complete(0, ENDED),
    "on_trial_error": lambda scheduler: scheduler.on_trial_error(0, "its process died"),
}


@pytest.mark.parametrize("method", CALLS)
def test_what_the_scheduler_raises_ends_the_run_and_nobody_asks_it_again(parts, monkeypatch, method):
    from embsweep.runners.ray.tune_adapter import StopOnSchedulerError

    end, calls = StopOnSchedulerError(parts.guarded), []

    def fail(*arguments):
        calls.append(arguments)
        raise DiskFull("no room for the ledger")

    monkeypatch.setattr(parts.scheduler, method, fail)
    if method == "suggest":
        parts.searcher.open.clear()
    assert not end.stop_all()
    CALLS[method](parts)
    assert end.stop_all()
    assert isinstance(parts.guarded.failure, DiskFull)
    CALLS_OF_A_DESK[method](parts.guarded)
    assert len(calls) == 1


@pytest.fixture
def tune(monkeypatch):
    """What is told to Tune; `stops` has it answer *stop*."""
    from embsweep.runners.ray import runner

    received = SimpleNamespace(texts=[], stops=False)

    def report(metrics):
        received.texts.append(metrics)
        if received.stops:
            raise SystemExit

    monkeypatch.setattr(runner.tune, "report", report)
    return received


def test_tunes_stop_is_an_answer_and_the_last_word(tune):
    from embsweep.runners.ray.runner import _TuneReporter

    reporter = _TuneReporter()
    reporter.start(STARTED)
    assert reporter.report(REPORT) is False
    tune.stops = True
    assert reporter.report(REPORT) is True
    reporter.finish(ENDED)
    reporter.report_worker_loss("its workers died")
    assert [metrics["message"] for metrics in tune.texts] == [to_text(m) for m in (STARTED, REPORT, REPORT)]


@pytest.mark.parametrize(
    ("slots", "bundles"),
    [
        (Slots(2, 3, 0.5), [{"CPU": 3, "GPU": 0.5}]),
        (Slots(2, 3, 0.0), [{"CPU": 3}]),
        (Slots(2, 4, 2.0, workers=2), [{"memory": 2**20}]),
    ],
)
def test_what_is_set_aside_for_a_trial(slots, bundles):
    """Of several workers, only the small process that speaks for them: they find their own place."""
    from embsweep.runners.ray.runner import _resources

    assert [{k: v for k, v in bundle.items() if v} for bundle in _resources(slots).bundles] == bundles


@pytest.mark.parametrize("trial_fn", [print, partial(print), partial(print, "argument", sep="")])
def test_work_without_keywords_stays_as_it_is(trial_fn):
    from embsweep.runners.ray.object_store import put_trial_fn

    assert put_trial_fn(trial_fn, to_other_machines=True) is trial_fn
