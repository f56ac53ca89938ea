"""The scheduler with ledger and listeners, driven by the inline runner and a scripted trial."""

from pathlib import Path

import pytest

from embsweep.config import build_config
from embsweep.runners.inline import InlineRunner
from embsweep.search.record import STUDY
from embsweep.sweep.projection import project_trial
from embsweep.sweep.scheduler import rank_trials
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted
from tests.ledgers import report_at
from tests.sweep.schedulers import FRACTIONS, Heard, scripted


def test_scheduler_records_every_trial_with_its_reports_scores_and_times(make_scheduler):
    heard = Heard()
    scheduler = make_scheduler(heard=heard)
    InlineRunner().run(scheduler, scripted())
    records = scheduler.ledger.trials
    assert [r.number for r in records] == list(range(6))
    for record in records:
        assert (record.state, record.best) == ("complete", record.number + 1.0)
        assert record.scores == {64: {"map@100": record.number + 1.0}}
        assert tuple(report.fraction for report in record.reports) == FRACTIONS
        assert (record.attributes["started_at"], record.attributes["ended_at"]) == (0.0, 9.0)
        assert heard.last(record.number).status == "FINISHED"
        events = [event.split()[0].strip(":,") for number, event in heard.events if event and number == record.number]
        assert events == ["starts", "at", "at", "at", "complete"]
    assert heard.progress.update.call_count == len(heard.events)


def test_listeners_learn_what_the_ledger_already_holds(make_persistent_scheduler):
    scheduler = make_persistent_scheduler(trials=2)
    told = []

    def listen(record, event):
        assert make_persistent_scheduler(trials=2).ledger.record(record.number) == record
        told.append(record)

    scheduler.listeners = (listen,)
    InlineRunner().run(scheduler, scripted(fail={1}))
    assert len(told) == 1 + 1 + len(FRACTIONS) + 1 + 3


def test_the_ledger_says_all_that_listeners_were_told(make_persistent_scheduler):
    """What MLflow has missed, because the driver was killed or MLflow lost it, is derived from the ledger again."""
    heard = Heard()
    InlineRunner().run(make_persistent_scheduler(trials=3, heard=heard), scripted(fail={1}))
    ledger = make_persistent_scheduler(trials=3).ledger
    again = [project_trial(ledger.metadata, STUDY, record) for record in ledger.trials]
    assert again == [heard.last(number) for number in range(3)]


def test_the_best_and_not_the_last_evaluation_counts(make_scheduler):
    scheduler = make_scheduler(trials=1)
    InlineRunner().run(scheduler, scripted(score=lambda number, fraction: 0.9 if fraction == 0.5 else 0.1))
    record = scheduler.ledger.record(0)
    assert record.best == 0.9
    assert record.scores == {64: {"map@100": 0.9}}


def test_a_stop_decided_by_the_ledger_reaches_the_trial(make_scheduler):
    scheduler = make_scheduler(stopping="successive_halving")
    InlineRunner().run(scheduler, scripted(score=lambda number, fraction: 1.0 - 0.1 * number))
    states = [r.state for r in scheduler.ledger.trials]
    assert states == ["complete", *["stopped"] * 5]
    assert all(r.fraction == 0.25 for r in scheduler.ledger.trials[1:])


def test_a_trial_pauses_goes_on_and_ends_in_words_and_in_mlflow(make_scheduler):
    heard = Heard()
    scheduler = make_scheduler(trials=2, stopping="promotion", heard=heard)
    InlineRunner().run(scheduler, scripted())
    scheduler.close_paused()
    assert [record.state for record in scheduler.ledger.trials] == ["stopped", "complete"]
    events = [event for number, event in heard.events if number == 1 and event]
    assert events[1:3] == [
        "paused at 25%: 1.2500 (best 1.2500)",
        "is promoted to 100%, and starts over: its state was deleted (stopping.paused_states)",
    ]
    assert events[-1] == "complete, best 2.0000"
    statuses = [[state.status for state in heard.states if state.key[1] == number] for number in (0, 1)]
    assert statuses[0][-2:] == ["SCHEDULED", "FINISHED"]
    paused = statuses[1].index("SCHEDULED")
    assert statuses[1][paused + 1] == "RUNNING"
    assert heard.last(1).status == "FINISHED"


def test_a_promotion_is_told_also_after_an_interruption(make_scheduler):
    make_scheduler(trials=2, stopping="promotion").suggest()
    heard = Heard()
    InlineRunner().run(make_scheduler(trials=2, stopping="promotion", heard=heard), scripted(lambda n, f: f - n))
    first = [event.split()[0] for number, event in heard.events if event and number == 0]
    assert first == ["starts:", "paused", "is", "at", "at", "at", "complete,"]


def test_weights_of_the_best_trials_are_kept(make_scheduler):
    scheduler = make_scheduler(keep_checkpoints=2)
    InlineRunner().run(scheduler, scripted())
    kept = [n for n in range(6) if (scheduler.phase.trial_dir(n) / "best").is_dir()]
    assert kept == [4, 5]
    assert rank_trials(scheduler.ledger.trials, scheduler.phase.directory) == [5, 4]


def test_a_few_failed_trials_do_not_end_the_sweep(make_scheduler):
    scheduler = make_scheduler(trials=8, max_failed_trials=2)
    InlineRunner().run(scheduler, scripted(fail={0, 2}))
    assert len(scheduler.ledger.trials) == 8
    assert not scheduler.has_too_many_failures


def test_too_many_failed_trials_end_the_sweep(make_scheduler):
    scheduler = make_scheduler(trials=8, max_failed_trials=2)
    InlineRunner().run(scheduler, scripted(fail={0, 2, 3}))
    assert scheduler.has_too_many_failures
    assert len(scheduler.ledger.trials) == 4
    assert rank_trials(scheduler.ledger.trials, scheduler.phase.directory) == [1]


def test_a_trial_that_scored_higher_before_it_failed_never_wins(make_scheduler):
    scheduler = make_scheduler(trials=2)
    good, better = scheduler.suggest(), scheduler.suggest()
    for job, value in ((good, 0.5), (better, 0.99)):
        scheduler.on_trial_start(job.number, TrialStarted(1, "here", 0.0, 0.1, 0.0))
        job.best.mkdir(parents=True)
        scheduler.on_trial_result(
            job.number, TrialReport(0.5, 1, 0.5, value, value, 0.5, {64: {"map@100": value}}, 0.1, 1e-5, 1.0)
        )
    scheduler.on_trial_complete(good.number, TrialResult(Outcome.COMPLETE, 0.5, str(good.best), 2.0))
    scheduler.on_trial_complete(better.number, TrialResult(Outcome.FAILED, None, None, 2.0, "loss is nan"))
    records = scheduler.ledger.trials
    assert records[1].best == 0.99
    assert rank_trials(records, scheduler.phase.directory) == [0]


def test_a_point_with_an_invalid_configuration_fails_only_its_trial(make_scheduler, make_config):
    good = make_config().model_dump(mode="json")
    bad = {**good, "train": {**good["train"], "batch_size": 1}}

    def configure(record):
        return build_config(bad if record.params["matryoshka"] == "coarse" else good)

    scheduler = make_scheduler(trials=4, configure=configure, max_failed_trials=9)
    InlineRunner().run(scheduler, scripted())
    for record in scheduler.ledger.trials:
        expected = "failed" if record.params["matryoshka"] == "coarse" else "complete"
        assert record.state == expected
    assert {"failed", "complete"} == {r.state for r in scheduler.ledger.trials}
    reason = next(r.attributes["reason"] for r in scheduler.ledger.trials if r.state == "failed")
    assert "train.batch_size" in reason


def test_suggest_returns_an_interrupted_trial_first(make_persistent_scheduler):
    first = make_persistent_scheduler()
    number = first.suggest().number
    again = make_persistent_scheduler()
    job = again.suggest()
    assert (job.number, job.attempt) == (number, 2)
    assert again.suggest().number == 1


def test_a_trial_whose_process_died_is_suggested_again_and_resumes(make_scheduler):
    heard = Heard()
    scheduler = make_scheduler(trials=2, heard=heard)
    job = scheduler.suggest()
    scheduler.on_trial_start(job.number, TrialStarted(1, "here", 0.0, 0.1, 0.0))
    first, second = report_at(0.25, 0.4), report_at(0.5, 0.3, best=0.4, best_fraction=0.25, at=2.0)
    scheduler.on_trial_result(job.number, first)
    scheduler.on_trial_error(job.number, "its process died")
    again = scheduler.suggest()
    assert (again.number, again.attempt, again.folder) == (job.number, 2, job.folder)
    scheduler.on_trial_start(again.number, TrialStarted(2, "there", 3.0, 0.1, 0.0, {}, earlier=(first,)))
    record = scheduler.ledger.record(job.number)
    assert (record.fraction, record.best, record.losses) == (0.25, 0.4, 1)
    scheduler.on_trial_result(again.number, second)
    scheduler.on_trial_complete(again.number, TrialResult(Outcome.STOPPED, 0.4, str(job.best), 9.0))
    record = scheduler.ledger.record(job.number)
    assert (record.state, record.best, record.scores) == ("stopped", 0.4, {64: {"map@100": 0.4}})
    assert record.reports == (first, second)
    points = [(batch.step, batch.at_ms) for batch in heard.last(0).metrics if "map_at_100" in str(batch.values)]
    assert points == [(1, 1000), (2, 2000), (0, 9000)], "each report once, then the scores of the weights"
    events = [event.split(":")[0] for _, event in heard.events]
    assert events[2:7] == ["at 25%", "was lost", "starts", "", "resumes at 50%"]


def test_reports_of_earlier_attempts_do_not_reach_the_pruner_again(make_scheduler, monkeypatch):
    """A trial that was not stopped at 25 % is not stopped later for its score there."""
    scheduler = make_scheduler(trials=3, stopping="successive_halving")
    slow, fast = scheduler.suggest(), scheduler.suggest()
    for job in (slow, fast):
        scheduler.on_trial_start(job.number, TrialStarted(1, "here", 0.0, 0.1, 0.0))
    early = report_at(0.25, 0.1)
    assert not scheduler.on_trial_result(slow.number, early)
    assert not scheduler.on_trial_result(fast.number, report_at(0.25, 0.9))
    scheduler.on_trial_error(slow.number, "its process died")
    again = scheduler.suggest()
    with monkeypatch.context() as patched:
        patched.setattr(scheduler.ledger._study.pruner, "prune", lambda *_: pytest.fail("pruner called"))
        scheduler.on_trial_start(again.number, TrialStarted(1, "here", 0.0, 0.1, 0.0, {}, earlier=(early,)))


@pytest.mark.parametrize("stopping", ["successive_halving", "hyperband"])
def test_a_stop_that_was_lost_in_a_crash_is_returned_again(make_persistent_scheduler, stopping):
    """Optuna's pruners evaluate each rung once: a second call would let the trial continue."""
    scheduler = make_persistent_scheduler(trials=20, stopping=stopping)
    stopped = None
    for rank in range(20):
        job = scheduler.suggest()
        scheduler.on_trial_start(job.number, TrialStarted(1, "here", 0.0, 0.1, 0.0))
        if scheduler.on_trial_result(job.number, report_at(0.25, 0.9 - rank / 100)):
            stopped = job.number
            break
    assert stopped is not None
    resumed = make_persistent_scheduler(trials=20, stopping=stopping)
    while (job := resumed.suggest()).number != stopped:
        pass
    resumed.on_trial_start(stopped, TrialStarted(1, "here", 0.0, 0.1, 0.0))
    assert resumed.on_trial_result(stopped, report_at(0.25, 0.9 - rank / 100))


def test_a_repeated_evaluation_keeps_its_time_unless_its_score_differs(make_scheduler):
    """The trial starts over several times: MLflow identifies a point by its time, and would show two points."""
    for at, values in ((1.0, (0.1, 0.2)), (61.0, (0.1,)), (91.0, ()), (121.0, (0.1, 0.2, 0.4)), (181.0, (0.1, 0.3))):
        scheduler = make_scheduler(trials=1)
        number = scheduler.suggest().number
        scheduler.on_trial_start(number, TrialStarted(1, "here", 0.0, 0.1, 0.0))
        for fraction, value in zip((0.25, 0.5, 0.75), values, strict=False):
            scheduler.on_trial_result(number, report_at(fraction, value, at=at))
        times = [report.reported_at for report in scheduler.ledger.record(number).reports]
        assert times == {1.0: [1.0, 1.0], 61.0: [1.0], 91.0: [], 121.0: [1.0, 1.0, 121.0], 181.0: [1.0, 181.0]}[at]
    resumed = make_scheduler(trials=1)
    resumed.suggest()
    own = (report_at(0.25, 0.1, at=181.0), report_at(0.5, 0.3, at=181.0))  # as the trial itself recorded them
    resumed.on_trial_start(number, TrialStarted(1, "here", 0.0, 0.1, 0.0, earlier=own))
    assert [report.reported_at for report in resumed.ledger.record(number).reports] == [1.0, 181.0]


def test_an_error_of_a_listener_does_not_fail_the_trial(make_scheduler):
    scheduler = make_scheduler(trials=1)

    def listen(record, event):
        if record.reports:
            raise ConnectionError("gone")

    scheduler.listeners = (listen,)
    with pytest.raises(ConnectionError):
        InlineRunner().run(scheduler, scripted())
    assert scheduler.ledger.record(0).state == "running", "the same command resumes it"


def test_a_process_that_dies_every_time_fails_its_trial(make_scheduler):
    scheduler = make_scheduler(trials=1, max_attempts=2)
    for attempt in (1, 2):
        job = scheduler.suggest()
        assert (job.number, job.attempt) == (0, attempt)
        scheduler.on_trial_error(0, "its process died")
    record = scheduler.ledger.record(0)
    assert record.state == "failed"
    assert all(named in record.attributes["reason"] for named in ("its process died", " 2 ", "sweep.max_attempts"))
    assert scheduler.suggest() is None


def test_restarts_of_the_driver_do_not_count_towards_max_attempts(make_scheduler):
    for attempt in range(1, 6):
        assert make_scheduler(trials=1, max_attempts=2).suggest().attempt == attempt


def test_the_resume_state_of_a_trial_is_deleted_when_it_ends(make_scheduler):
    scheduler = make_scheduler(trials=1)
    job = scheduler.suggest()
    scheduler.on_trial_start(0, TrialStarted(1, "here", 0.0, 0.1, 0.0))
    job.state.mkdir(parents=True)
    scheduler.on_trial_result(0, report_at(0.5, 0.4))
    assert job.state.is_dir()
    scheduler.on_trial_complete(0, TrialResult(Outcome.FAILED, None, None, 2.0, "scripted"))
    assert not job.state.exists()


def test_the_parameters_of_a_run_are_its_configuration_and_the_chosen_groups(make_scheduler):
    heard = Heard()
    job = make_scheduler(trials=1, heard=heard).suggest()
    (state,) = heard.states
    assert (state.key, state.name, state.tags["embsweep.attempt"]) == (("trial", 0), "trial 0", "1")
    assert state.params["train.batch_size"] == "16"
    assert state.params["matryoshka"] in ("halving", "coarse")
    assert Path(job.folder).name == "0000"
