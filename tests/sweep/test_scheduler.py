"""The desk between runner, ledger, tracking and screen, driven by the inline runner and a scripted trial."""

from pathlib import Path

import pytest

from embsweep.config import build_config
from embsweep.runners.inline import InlineRunner
from embsweep.sweep.phase import find_contenders
from embsweep.tracking.runs import Child
from embsweep.training.messages import Outcome, Report, Started, TrialResult
from tests.sweep.schedulers import FRACTIONS, report_at, scripted


def test_every_trial_is_in_the_ledger_with_its_run_scores_and_times(make_desk):
    desk = make_desk()
    InlineRunner().run(desk, scripted())
    records = desk.ledger.trials
    assert [r.number for r in records] == list(range(6))
    for record in records:
        assert (record.state, record.best) == ("complete", record.number + 1.0)
        assert record.attributes["tracked"]
        assert record.attributes["scores"] == {"64": {"map@100": record.number + 1.0}}
        assert (record.attributes["started_at"], record.attributes["ended_at"]) == (0.0, 9.0)
    assert desk.tracking.finish_trial.call_count == 6
    assert desk.tracking.log_report.call_count == 6 * len(FRACTIONS)


def test_the_best_and_not_the_last_evaluation_counts(make_desk):
    desk = make_desk(trials=1)
    InlineRunner().run(desk, scripted(score=lambda number, fraction: 0.9 if fraction == 0.5 else 0.1))
    record = desk.ledger.record(0)
    assert record.best == 0.9
    assert record.attributes["scores"] == {"64": {"map@100": 0.9}}


def test_stopping_goes_from_the_ledger_to_the_trial(make_desk):
    desk = make_desk(stopping="successive_halving")
    InlineRunner().run(desk, scripted(score=lambda number, fraction: 1.0 - 0.1 * number))
    states = [r.state for r in desk.ledger.trials]
    assert states == ["complete", *["stopped"] * 5]
    assert all(r.fraction == 0.25 for r in desk.ledger.trials[1:])


def test_weights_of_the_best_few_stay(make_desk):
    desk = make_desk(keep_checkpoints=2)
    InlineRunner().run(desk, scripted())
    kept = [n for n in range(6) if (desk.stage.folder(n) / "best").is_dir()]
    assert kept == [4, 5]
    assert [c.number for c in find_contenders(desk.ledger.trials, desk.stage.runs)] == [5, 4]


def test_failed_trials_do_not_end_the_sweep_until_there_are_too_many(make_desk):
    desk = make_desk(trials=8, max_failed_trials=2)
    InlineRunner().run(desk, scripted(fail={0, 2}))
    assert len(desk.ledger.trials) == 8
    assert not desk.is_hopeless


def test_too_many_failed_trials_end_it(make_desk):
    desk = make_desk(trials=8, max_failed_trials=2)
    InlineRunner().run(desk, scripted(fail={0, 2, 3}))
    assert desk.is_hopeless
    assert len(desk.ledger.trials) == 4
    assert [c.number for c in find_contenders(desk.ledger.trials, desk.stage.runs)] == [1]


def test_a_trial_that_looked_better_before_it_failed_never_wins(make_desk):
    desk = make_desk(trials=2)
    good, better = desk.next_job(), desk.next_job()
    for job, value in ((good, 0.5), (better, 0.99)):
        desk.started(job.number, Started(1, "here", 0.0, 0.1, 0.0))
        job.best.mkdir(parents=True)
        desk.report(job.number, Report(0.5, 1, 0.5, value, value, 0.5, {64: {"map@100": value}}, 0.1, 1e-5, 1.0))
    desk.finished(good.number, TrialResult(Outcome.COMPLETE, 0.5, None, str(good.best), 2.0))
    desk.finished(better.number, TrialResult(Outcome.FAILED, None, None, None, 2.0, "loss is nan"))
    records = desk.ledger.trials
    assert records[1].best == 0.99
    assert [c.number for c in find_contenders(records, desk.stage.runs)] == [0]


def test_a_point_that_composes_to_nothing_valid_fails_alone(make_desk, make_config):
    good = make_config().model_dump(mode="json")
    bad = {**good, "train": {**good["train"], "batch_size": 1}}

    def configure(record):
        return build_config(bad if record.params["matryoshka"] == "coarse" else good)

    desk = make_desk(trials=4, configure=configure, max_failed_trials=9)
    InlineRunner().run(desk, scripted())
    for record in desk.ledger.trials:
        expected = "failed" if record.params["matryoshka"] == "coarse" else "complete"
        assert record.state == expected
    assert {"failed", "complete"} == {r.state for r in desk.ledger.trials}
    reason = next(r.attributes["reason"] for r in desk.ledger.trials if r.state == "failed")
    assert "train.batch_size" in reason


def test_interrupted_trial_is_handed_out_again_first(make_kept_desk):
    first = make_kept_desk()
    number = first.next_job().number
    again = make_kept_desk()
    job = again.next_job()
    assert (job.number, job.attempt) == (number, 2)
    assert again.next_job().number == 1


def test_a_trial_whose_process_died_is_handed_out_again_and_goes_on(make_desk):
    desk = make_desk(trials=2)
    job = desk.next_job()
    desk.started(job.number, Started(1, "here", 0.0, 0.1, 0.0))
    first, second = report_at(0.25, 0.4), report_at(0.5, 0.3, best=0.4, best_fraction=0.25, at=2.0)
    desk.report(job.number, first)
    desk.lost(job.number, "its process died")
    again = desk.next_job()
    assert (again.number, again.attempt, again.folder) == (job.number, 2, job.folder)
    desk.started(again.number, Started(2, "there", 3.0, 0.1, 0.0, {}, earlier=(first,)))
    record = desk.ledger.record(job.number)
    assert (record.fraction, record.best, record.losses) == (0.25, 0.4, 1)
    desk.report(again.number, second)
    desk.finished(again.number, TrialResult(Outcome.STOPPED, 0.4, None, str(job.best), 9.0))
    record = desk.ledger.record(job.number)
    assert (record.state, record.best, record.attributes["scores"]) == ("stopped", 0.4, {"64": {"map@100": 0.4}})
    assert [row["fraction"] for row in record.attributes["log"]] == [0.25, 0.5]
    logged = [call.args[1] for call in desk.tracking.log_report.call_args_list]
    assert logged == [first, first, second], "the first again, word for word: MLflow keeps one of two equal ones"


def test_what_was_reported_before_is_not_judged_again(make_desk, monkeypatch):
    """A stop that was not given at 25 % is not given afterwards for what happened there."""
    desk = make_desk(trials=3, stopping="successive_halving")
    slow, fast = desk.next_job(), desk.next_job()
    for job in (slow, fast):
        desk.started(job.number, Started(1, "here", 0.0, 0.1, 0.0))
    early = report_at(0.25, 0.1)
    assert not desk.report(slow.number, early)
    assert not desk.report(fast.number, report_at(0.25, 0.9))
    desk.lost(slow.number, "its process died")
    again = desk.next_job()
    with monkeypatch.context() as patched:
        patched.setattr(desk.ledger._study.pruner, "prune", lambda *_: pytest.fail("judged"))
        desk.started(again.number, Started(1, "here", 0.0, 0.1, 0.0, {}, earlier=(early,)))


@pytest.mark.parametrize("stopping", ["successive_halving", "hyperband"])
def test_a_stop_that_a_crash_kept_from_its_trial_is_given_again(make_kept_desk, stopping):
    """Optuna's pruners look at each rung once: asked again, they would let the trial go on."""
    desk = make_kept_desk(trials=20, stopping=stopping)
    stopped = None
    for rank in range(20):
        job = desk.next_job()
        desk.started(job.number, Started(1, "here", 0.0, 0.1, 0.0))
        if desk.report(job.number, report_at(0.25, 0.9 - rank / 100)):
            stopped = job.number
            break
    assert stopped is not None
    resumed = make_kept_desk(trials=20, stopping=stopping)
    while (job := resumed.next_job()).number != stopped:
        pass
    resumed.started(stopped, Started(1, "here", 0.0, 0.1, 0.0))
    assert resumed.report(stopped, report_at(0.25, 0.9 - rank / 100))


def test_the_end_that_a_crash_kept_from_mlflow_is_told_afterwards(make_kept_desk):
    desk = make_kept_desk(trials=2)
    desk.tracking.finish_trial.side_effect = [None, ConnectionError("gone")]
    run_until_it_fails(desk)
    assert [t.state for t in desk.ledger.trials] == ["complete", "complete"]
    again = make_kept_desk(trials=2)
    again.catch_up()
    ((child, result, _), _) = again.tracking.finish_trial.call_args
    assert again.tracking.finish_trial.call_count == 1, "the other one was told"
    assert (child.number, result.outcome, result.best_objective, result.ended_at) == (1, Outcome.COMPLETE, 2.0, 9.0)
    assert result.best_scores == {64: {"map@100": 2.0}}


def test_a_torn_outbox_means_that_all_of_every_trial_is_told_again(make_desk):
    desk = make_desk(trials=3)
    InlineRunner().run(desk, scripted(fail={1}))
    again = make_desk(trials=3, has_lost=True)
    again.catch_up()
    again.tracking.has_lost.assert_called_once_with(7)
    for name in ("log_facts", "log_report"):
        assert getattr(again.tracking, name).call_args_list == getattr(desk.tracking, name).call_args_list, name
    told, knew = ([_to_end(*c.args) for c in d.tracking.finish_trial.call_args_list] for d in (again, desk))
    assert told == knew
    first, second = desk.tracking.start_trial.call_args_list, again.tracking.start_trial.call_args_list
    assert [call.args for call in first] == [call.args for call in second]
    assert [call.kwargs for call in second] == [{"started_at": 0.0}] * 3


def _to_end(child, result, scores):
    return child, result.outcome, result.best_objective, result.best_scores or scores, result.reason


def test_an_evaluation_done_again_keeps_its_moment_unless_it_came_out_otherwise(make_desk):
    """Of a trial that starts over time and again: MLflow knows a point by its moment, and would show two."""
    for at, values in ((1.0, (0.1, 0.2)), (61.0, (0.1,)), (91.0, ()), (121.0, (0.1, 0.2, 0.4)), (181.0, (0.1, 0.3))):
        desk = make_desk(trials=1)
        number = desk.next_job().number
        desk.started(number, Started(1, "here", 0.0, 0.1, 0.0))
        for fraction, value in zip((0.25, 0.5, 0.75), values, strict=False):
            desk.report(number, report_at(fraction, value, at=at))
        told = [call.args[1].reported_at for call in desk.tracking.log_report.call_args_list]
        assert told == {1.0: [1.0, 1.0], 61.0: [1.0], 91.0: [], 121.0: [1.0, 1.0, 121.0], 181.0: [1.0, 181.0]}[at]
    resumed = make_desk(trials=1)
    resumed.next_job()
    own = (report_at(0.25, 0.1, at=181.0), report_at(0.5, 0.3, at=181.0))  # as the trial itself has noted them
    resumed.started(number, Started(1, "here", 0.0, 0.1, 0.0, earlier=own))
    assert [call.args[1].reported_at for call in resumed.tracking.log_report.call_args_list] == [1.0, 181.0]


def run_until_it_fails(desk):
    with pytest.raises(ConnectionError):
        InlineRunner().run(desk, scripted())


def test_a_server_that_is_gone_does_not_fail_the_trial(make_desk):
    desk = make_desk(trials=1)
    desk.tracking.log_report.side_effect = ConnectionError("gone")
    run_until_it_fails(desk)
    assert desk.ledger.record(0).state == "running", "it goes on when the server is back"


def test_a_process_that_dies_every_time_fails_its_trial(make_desk):
    desk = make_desk(trials=1, max_attempts=2)
    for attempt in (1, 2):
        job = desk.next_job()
        assert (job.number, job.attempt) == (0, attempt)
        desk.lost(0, "its process died")
    record = desk.ledger.record(0)
    assert record.state == "failed"
    assert all(named in record.attributes["reason"] for named in ("its process died", " 2 ", "sweep.max_attempts"))
    assert desk.next_job() is None


def test_restarts_of_the_driver_are_not_held_against_a_trial(make_desk):
    for attempt in range(1, 6):
        assert make_desk(trials=1, max_attempts=2).next_job().attempt == attempt


def test_what_a_trial_needs_to_go_on_is_gone_when_it_is_over(make_desk):
    desk = make_desk(trials=1)
    job = desk.next_job()
    desk.started(0, Started(1, "here", 0.0, 0.1, 0.0))
    job.state.mkdir(parents=True)
    desk.report(0, report_at(0.5, 0.4))
    assert job.state.is_dir()
    desk.finished(0, TrialResult(Outcome.FAILED, None, None, None, 2.0, "scripted"))
    assert not job.state.exists()


def test_parameters_of_a_trial_hold_the_configuration_and_the_chosen_groups(make_desk):
    desk = make_desk(trials=1)
    job = desk.next_job()
    (child, attempt, params), _ = desk.tracking.start_trial.call_args
    assert (child, attempt) == (Child(0, "trial 0", "trial"), 1)
    assert params["train.batch_size"] == 16
    assert params["matryoshka"] in ("halving", "coarse")
    assert Path(job.folder).name == "0000"
