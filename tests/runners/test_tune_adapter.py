"""The adapter between Tune and the scheduler, without a running Ray."""

from functools import partial
from types import SimpleNamespace

import pytest

from embsweep.core.errors import CodedError, DiskFull
from embsweep.runners.resources import Slots
from embsweep.training.messages import MESSAGE, Outcome, TrialResult, TrialStarted
from tests.doubles import reports_of

pytestmark = pytest.mark.slow  # importing Tune takes a second

STARTED = TrialStarted(1, "here", 0.0, 0.0, 0.0)
REPORT = reports_of(4)(2)
ENDED = TrialResult(Outcome.COMPLETE, 2.0, "best", 1.0)
FOUR = {"require": lambda: None, "can_spare": lambda gpus: gpus < 4, "count_at_once": lambda held: 4 - held}
"""Capacity for four trials on four GPUs."""


@pytest.fixture
def parts(make_scheduler):
    """A scheduler with open trials, and Tune's adapter on top."""
    from embsweep.runners.ray.tune_adapter import TuneAdapter

    scheduler = make_scheduler(2, should_stop=lambda number, report: number == 1)
    adapter = TuneAdapter(scheduler, scheduler.suggest(), SimpleNamespace(**FOUR))
    for trial_id in ("a", "b"):
        adapter.suggest(trial_id)
    return SimpleNamespace(scheduler=scheduler, adapter=adapter)


def send(parts, trial_id, message, **more):
    return parts.adapter(trial_id, {"message": MESSAGE.dump_json(message).decode() if message else "", **more})


def test_messages_reach_the_scheduler_and_a_stop_comes_back(parts):
    assert send(parts, "a", STARTED) is False
    assert send(parts, "a", REPORT) is False
    assert send(parts, "b", REPORT) is True
    assert (parts.scheduler.starts, parts.scheduler.reports) == ({0: STARTED}, {0: [REPORT], 1: [REPORT]})


def test_a_result_reaches_the_scheduler_when_its_process_is_free(parts):
    send(parts, "a", ENDED)
    assert not parts.scheduler.results
    parts.adapter.on_trial_complete("a", error=True)
    assert parts.scheduler.results == {0: ENDED}, "Tune's error status of a finished trial is ignored"
    assert not parts.scheduler.losses


def test_a_stopped_trial_is_finished_with_its_last_report(parts):
    send(parts, "b", REPORT)
    parts.adapter.on_trial_complete("b")
    result = parts.scheduler.results[1]
    assert (result.outcome, result.best_objective) == (Outcome.STOPPED, REPORT.best_objective)
    assert result.checkpoint == str(parts.scheduler.jobs[1].best)


def test_a_stop_at_the_last_report_is_a_completed_trial(parts):
    send(parts, "b", reports_of(4)(4))
    parts.adapter.on_trial_complete("b")
    assert parts.scheduler.results[1].outcome == Outcome.COMPLETE


def test_a_lost_process_has_the_reason_that_it_reported(parts):
    send(parts, "a", None, **{"loss of the process": "its workers died"})
    for trial_id in ("a", "b"):
        parts.adapter.on_trial_complete(trial_id, error=True)
    assert parts.scheduler.losses[0] == ["its workers died"]
    (other,) = parts.scheduler.losses[1]
    assert other not in ("", "its workers died")


def test_an_interrupted_trial_stays_open(parts):
    parts.adapter.on_trial_complete("a")
    assert set(parts.adapter.open) == {"a", "b"}
    assert not parts.scheduler.results
    assert not parts.scheduler.losses


def test_searcher_is_not_finished_while_a_trial_may_be_lost(parts):
    assert parts.adapter.suggest("c") is None
    send(parts, "b", REPORT)
    parts.adapter.on_trial_complete("b")
    parts.adapter.on_trial_complete("a", error=True)
    assert parts.adapter.suggest("c")["number"] == 0
    send(parts, "c", ENDED)
    parts.adapter.on_trial_complete("c")
    assert parts.adapter.suggest("d") == "FINISHED"
    assert parts.adapter.is_exhausted


CALLS = {
    "suggest": lambda parts: parts.adapter.suggest("c"),
    "on_trial_start": lambda parts: send(parts, "a", STARTED),
    "on_trial_result": lambda parts: send(parts, "b", REPORT),
    "on_trial_complete": lambda parts: (send(parts, "a", ENDED), parts.adapter.on_trial_complete("a")),
    "on_trial_error": lambda parts: parts.adapter.on_trial_complete("a", error=True),
}


@pytest.mark.parametrize("method", CALLS)
def test_an_exception_of_the_scheduler_ends_the_run_and_it_is_not_called_again(parts, monkeypatch, method):
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise DiskFull("no space for the ledger")

    monkeypatch.setattr(parts.scheduler, method, fail)
    if method == "suggest":
        parts.adapter.open.clear()
    assert not parts.adapter.stop_all()
    CALLS[method](parts)
    assert parts.adapter.stop_all()
    assert isinstance(parts.adapter.failure, DiskFull)
    parts.adapter._call(getattr(parts.scheduler, method))
    assert len(calls) == 1


def test_lost_capacity_ends_the_run(parts):
    def fail():
        raise CodedError("not-enough-room", "no machine is left")

    parts.adapter.capacity.require = fail
    assert parts.adapter.stop_all()
    assert parts.adapter.failure.code == "not-enough-room"
    assert parts.adapter.suggest("c") is None


def test_the_last_message_is_ignored_when_tune_repeats_it(parts):
    send(parts, "a", REPORT)
    send(parts, "a", REPORT, done=True)
    assert parts.scheduler.reports == {0: [REPORT]}


@pytest.fixture
def tune(monkeypatch):
    """Records what is reported to Tune; with `stops`, Tune stops the trial."""
    from embsweep.runners.ray import runner

    received = SimpleNamespace(texts=[], stops=False)

    def report(metrics):
        received.texts.append(metrics)
        if received.stops:
            raise SystemExit

    monkeypatch.setattr(runner.tune, "report", report)
    return received


def test_tunes_stop_is_returned_and_nothing_is_reported_after_it(tune):
    from embsweep.runners.ray.tune_reporter import TuneReporter

    reporter = TuneReporter()
    reporter.start(STARTED)
    assert reporter.report(REPORT) is False
    tune.stops = True
    assert reporter.report(REPORT) is True
    reporter.finish(ENDED)
    reporter.report_worker_loss("its workers died")
    assert [metrics["message"] for metrics in tune.texts] == [
        MESSAGE.dump_json(m).decode() for m in (STARTED, REPORT, REPORT)
    ]


@pytest.mark.parametrize(
    ("slots", "bundles"),
    [
        (Slots(2, 3, 0.5), [{"CPU": 3, "GPU": 0.5}]),
        (Slots(2, 3, 0.0), [{"CPU": 3}]),
        (Slots(2, 4, 2.0, workers=2), [{"memory": 2**20}, {"CPU": 2, "GPU": 1}, {"CPU": 2, "GPU": 1}]),
    ],
)
def test_resources_reserved_for_a_trial(slots, bundles):
    """With several workers, also those of the small process that reports for them."""
    from embsweep.runners.ray.runner import _resources

    assert [{k: v for k, v in bundle.items() if v} for bundle in _resources(slots).bundles] == bundles


@pytest.mark.parametrize("trial_fn", [print, partial(print), partial(print, "argument", sep="")])
def test_a_trial_function_without_keywords_is_unchanged(trial_fn):
    from embsweep.runners.ray.object_store import put_trial_fn

    assert put_trial_fn(trial_fn) is trial_fn
