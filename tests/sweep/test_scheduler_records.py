"""What the desk writes of a run, where, and what it leaves on disk: each by itself, without a runner."""

import dataclasses

import pytest

from embsweep.core.errors import Diagnostic, DiskFull, InputError
from embsweep.core.files import write_folder
from embsweep.search.record import TrialRecord, result_of
from embsweep.sweep.phase import rank_finished_trials
from embsweep.sweep.scheduler import LOGGED_TRIALS, MANIFEST_NOTE
from embsweep.training.messages import Outcome, TrialResult, TrialStarted
from embsweep.training.verification import hash_of_manifest
from tests.sweep.schedulers import report_at

STARTED = TrialStarted(1, "here", 0.0, 0.1, 0.0)
SECRET = "hunter2-and-more"
LEAKING = f"no answer from postgresql://ann:{SECRET}@db/x"


def start(scheduler, **started):
    """The next trial, up and about to train."""
    job = scheduler.suggest()
    scheduler.on_trial_start(job.number, dataclasses.replace(STARTED, **started))
    return job


def ended(outcome, best=None, **values):
    """The end of a trial."""
    found = {"best_scores": None, "checkpoint": None, "ended_at": 9.0, "reason": None, **values}
    return TrialResult(outcome, best, **found)


def test_the_running_best_and_not_the_last_score_is_what_a_stopped_trial_is_worth(make_scheduler):
    """To the sampler and the stopping too, of what is said again as of what is said for the first time."""
    first, second = report_at(0.25, 0.4), report_at(0.5, 0.3, best=0.4, best_fraction=0.25)
    for earlier, reports in (((), (first, second)), ((first, second), ())):
        scheduler = make_scheduler()
        number = start(scheduler, earlier=earlier).number
        for report in reports:
            scheduler.on_trial_result(number, report)
        scheduler.on_trial_complete(number, ended(Outcome.STOPPED, 0.4))
        frozen = scheduler.ledger._study.trials[number]
        assert (frozen.value, frozen.intermediate_values) == (0.4, {250: 0.4, 500: 0.4})


def test_a_trial_at_the_end_of_its_schedule_is_not_stopped(make_scheduler, monkeypatch):
    scheduler = make_scheduler()
    number = start(scheduler).number
    monkeypatch.setattr(scheduler.ledger._study.pruner, "prune", lambda *_: True)
    assert scheduler.on_trial_result(number, report_at(0.5, 0.4)) is True
    assert scheduler.on_trial_result(number, report_at(1.0, 0.4)) is False


def test_a_full_disk_ends_the_sweep_and_not_the_trial(make_scheduler):
    scheduler = make_scheduler()
    full = "OSError: [Errno 28] No space left on device"
    number = start(scheduler).number
    with pytest.raises(DiskFull):
        scheduler.on_trial_complete(number, ended(Outcome.FAILED, reason=full))
    assert scheduler.ledger.record(number).state == "running"
    scheduler.on_trial_complete(number, ended(Outcome.COMPLETE, 0.5, reason=full))
    assert scheduler.ledger.record(number).state == "complete", "only what failed can have failed for that"


def test_no_secret_of_a_reason_or_a_fact_gets_anywhere(make_scheduler):
    scheduler = make_scheduler(max_attempts=3)
    number = start(scheduler, facts={"restarted": LEAKING}).number
    scheduler.on_trial_error(number, LEAKING)
    start(scheduler)
    scheduler.on_trial_complete(number, ended(Outcome.FAILED, reason=LEAKING))
    failed = start(scheduler).number
    for _ in range(3):
        scheduler.on_trial_error(failed, LEAKING)
        scheduler.suggest()
    written = [
        scheduler.ledger.trials,
        scheduler.ledger.metadata,
        scheduler.tracking.mock_calls,
        scheduler.progress.mock_calls,
    ]
    assert SECRET not in repr(written)
    assert scheduler.ledger.record(number).attributes["reason"].startswith("no answer from postgresql://")


def test_the_scores_of_the_trial_itself_count_and_else_the_best_that_were_heard(make_scheduler):
    own, received = {64: {"map@100": 0.7}}, {64: {"map@100": 0.4}}
    for given, expected in ((own, own), (None, received)):
        scheduler = make_scheduler()
        number = start(scheduler).number
        scheduler.on_trial_result(number, report_at(0.5, 0.4))
        scheduler.on_trial_result(number, report_at(1.0, 0.3, best=0.4, best_fraction=0.5))
        scheduler.on_trial_complete(number, ended(Outcome.COMPLETE, 0.4, best_scores=given))
        assert scheduler.ledger.record(number).attributes["scores"] == {str(dim): one for dim, one in expected.items()}


def test_the_manifest_of_the_weights_is_noted_when_they_are_whole(make_scheduler):
    scheduler = make_scheduler()
    with_weights, without = start(scheduler), start(scheduler)
    write_folder(with_weights.best, lambda folder: (folder / "weights").write_text("w"))
    for job, checkpoint in ((with_weights, str(with_weights.best)), (without, None)):
        scheduler.on_trial_complete(job.number, ended(Outcome.COMPLETE, 0.5 + job.number, checkpoint=checkpoint))
    notes = [record.attributes.get(MANIFEST_NOTE) for record in scheduler.ledger.trials]
    assert notes == [hash_of_manifest(with_weights.best), None]


def test_every_end_that_was_told_is_on_record(make_scheduler):
    scheduler = make_scheduler(trials=3)
    jobs = [start(scheduler) for _ in range(3)]
    for job in (jobs[2], jobs[0], jobs[1]):
        scheduler.on_trial_complete(job.number, ended(Outcome.COMPLETE, 0.5))
    assert scheduler.ledger.metadata[LOGGED_TRIALS] == [0, 1, 2]


def test_an_end_whose_start_was_never_told_is_not_told_either(make_scheduler):
    """The driver died between the two; MLflow has no run to end."""
    first = make_scheduler(trials=2)
    number = first.ledger.ask().number
    first.ledger.fail(number, "given up")
    again = make_scheduler(trials=2)
    again.resume()
    assert again.tracking.finish_trial.call_count == 0


def test_a_point_that_is_not_valid_is_told_again_with_the_parameters_it_has(make_scheduler):
    def configure(record):
        raise InputError(Diagnostic("train", "is not valid", 1))

    scheduler = make_scheduler(trials=1, configure=configure)
    assert scheduler.suggest() is None
    again = make_scheduler(trials=1, configure=configure, has_lost_records=True)
    again.resume()
    calls = [each.tracking.start_trial.call_args.args for each in (scheduler, again)]
    assert calls[0] == calls[1]
    assert calls[0][2] == scheduler.ledger.record(0).params


def test_what_is_said_again_has_the_moment_of_when_it_was_last_said_so(make_scheduler):
    """A trial that starts over twice, comes out otherwise the first time and the same as then the second."""
    for at, value, crash_point in ((1.0, 0.1, 1.0), (61.0, 0.3, 61.0), (121.0, 0.3, 61.0)):
        scheduler = make_scheduler(trials=1)
        number = start(scheduler).number
        scheduler.on_trial_result(number, report_at(0.25, value, at=at))
        assert scheduler.tracking.log_report.call_args.args[1].reported_at == crash_point


def leave_files(scheduler, number):
    folder = scheduler.phase.trial_dir(number)
    for name in ("state", "previous/state", "best", ".state.0a1b.tmp", ".best.0a1b.old"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def test_what_is_left_on_disk_of_runs_that_are_kept_of_others_and_of_open_ones(make_scheduler):
    scheduler = make_scheduler(trials=3, keep_checkpoints=1)
    good, bad, is_open = (leave_files(scheduler, start(scheduler).number) for _ in range(3))
    before = {path.name for path in is_open.iterdir()}
    scheduler.on_trial_complete(0, ended(Outcome.COMPLETE, 0.9, checkpoint=str(good / "best")))
    scheduler.on_trial_complete(1, ended(Outcome.COMPLETE, 0.5, checkpoint=str(bad / "best")))
    assert [path.name for path in good.iterdir() if not path.name.startswith(".best")] == ["best"]
    assert [path.name for path in bad.iterdir()] == []
    assert {path.name for path in is_open.iterdir()} == before


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"keep_checkpoints": 1}, [3]),
        ({"keep_checkpoints": 2}, [2, 3]),
        ({"keep_checkpoints": 1, "keep_recipe": True}, [0, 3]),
    ],
)
def test_weights_of_the_best_and_of_the_recipe_stay(make_scheduler, limits, kept):
    scheduler = make_scheduler(trials=4, **limits)
    for number in range(4):
        start(scheduler).best.mkdir(parents=True)
        value = (number + 1) / 10
        scheduler.on_trial_result(number, report_at(0.25, value))
        scheduler.on_trial_complete(number, ended(Outcome.STOPPED if number % 2 else Outcome.COMPLETE, value))
    assert [n for n in range(4) if (scheduler.phase.trial_dir(n) / "best").is_dir()] == kept


def test_as_many_weights_stay_as_there_will_be_finalists(make_scheduler, limited):
    assert limited().confirm.finalists == 1
    phase = make_scheduler(trials=1, keep_checkpoints=1, finalists=3).phase
    records = [TrialRecord(number, "complete", {}, number / 10, 1.0, {}) for number in range(5)]
    for record in records:
        (phase.trial_dir(record.number) / "best").mkdir(parents=True)
    assert phase.checkpoints_to_keep(records) == {2, 3, 4}


def test_a_stopped_trial_can_win_and_a_failed_or_open_one_cannot(tmp_path):
    states = ("complete", "stopped", "failed", "running")
    records = [TrialRecord(number, state, {}, 0.5 + number / 10, 1.0, {}) for number, state in enumerate(states)]
    for record in records:
        (tmp_path / f"{record.number:04d}" / "best").mkdir(parents=True)
    assert [contender.number for contender in rank_finished_trials(records, tmp_path)] == [1, 0]


@pytest.mark.parametrize(("state", "best"), [("complete", 0.9), ("stopped", 0.9), ("failed", None)])
def test_a_failed_run_has_no_best_objective_however_good_it_looked(state, best):
    record = TrialRecord(1, state, {}, 0.9, 0.5, {"ended_at": 9.0, "reason": "scripted", "checkpoint": "x"})
    found = result_of(record)
    assert (found.outcome, found.best_objective) == (Outcome(state), best)
    assert (found.ended_at, found.reason, found.checkpoint) == (9.0, "scripted", "x")


def test_a_run_is_told_its_fold(make_scheduler):
    scheduler = make_scheduler()
    assert scheduler.suggest().fold is None
    scheduler.phase = dataclasses.replace(scheduler.phase, fold=lambda record: 2)
    assert scheduler.suggest().fold == 2
