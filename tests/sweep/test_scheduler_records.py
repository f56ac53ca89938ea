"""What the scheduler records of a run and which files it keeps: tested step by step, without a runner."""

import dataclasses

import pytest

from embsweep.core.errors import Diagnostic, DiskFull, InputError
from embsweep.core.files import write_folder
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.search.record import TrialRecord
from embsweep.sweep.scheduler import MANIFEST_SHA256, rank_trials
from embsweep.training.messages import Outcome, TrialResult, TrialStarted
from embsweep.training.verification import hash_of_manifest
from tests.ledgers import Memory, report_at
from tests.sweep.schedulers import Heard

STARTED = TrialStarted(1, "here", 0.0, 0.1, 0.0)
SECRET = "hunter2-and-more"
LEAKING = f"no answer from postgresql://ann:{SECRET}@db/x"


def start(scheduler, **started):
    """Return the next trial, after its start was reported."""
    job = scheduler.suggest()
    scheduler.on_trial_start(job.number, dataclasses.replace(STARTED, **started))
    return job


def ended(outcome, best=None, **values):
    """Return the result of a trial."""
    fields = {"checkpoint": None, "ended_at": 9.0, "reason": None, **values}
    return TrialResult(outcome, best, **fields)


def test_a_stopped_trial_counts_with_its_running_best_and_not_its_last_score(make_scheduler):
    """For sampler and pruner too, whether its reports are new or those of an earlier attempt."""
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
    assert scheduler.ledger.record(number).state == "complete", "only a failed trial can have failed for that reason"


def test_secrets_in_reasons_and_facts_are_recorded_nowhere(make_scheduler):
    heard = Heard()
    scheduler = make_scheduler(max_attempts=3, heard=heard)
    number = start(scheduler, facts={"restarted": LEAKING}).number
    scheduler.on_trial_error(number, LEAKING)
    start(scheduler)
    scheduler.on_trial_complete(number, ended(Outcome.FAILED, reason=LEAKING))
    failed = start(scheduler).number
    for _ in range(3):
        scheduler.on_trial_error(failed, LEAKING)
        scheduler.suggest()
    ledger = scheduler.ledger
    assert SECRET not in repr([ledger.trials, ledger.metadata, heard.states, heard.events, heard.progress.mock_calls])
    assert scheduler.ledger.record(number).attributes["reason"].startswith("no answer from postgresql://")


def test_a_warning_reaches_the_user_without_secrets(make_scheduler):
    scheduler, lines = make_scheduler(), []
    scheduler.warn = lines.append
    scheduler.on_warning(LEAKING)
    (line,) = lines
    assert line.startswith("no answer from postgresql://")
    assert SECRET not in line


def test_recorded_scores_are_those_of_the_best_report_also_of_an_earlier_attempt(make_scheduler):
    best, last = report_at(0.5, 0.4), report_at(1.0, 0.3, best=0.4, best_fraction=0.5)
    for earlier, reports in (((), (best, last)), ((best,), (last,))):
        scheduler = make_scheduler()
        number = start(scheduler, earlier=earlier).number
        for report in reports:
            scheduler.on_trial_result(number, report)
        scheduler.on_trial_complete(number, ended(Outcome.COMPLETE, 0.4))
        assert scheduler.ledger.record(number).scores == best.scores


def test_the_manifest_hash_of_complete_weights_is_recorded(make_scheduler):
    scheduler = make_scheduler()
    with_weights, without = start(scheduler), start(scheduler)
    write_folder(with_weights.best, lambda folder: (folder / "weights").write_text("w"))
    for job, checkpoint in ((with_weights, str(with_weights.best)), (without, None)):
        scheduler.on_trial_complete(job.number, ended(Outcome.COMPLETE, 0.5 + job.number, checkpoint=checkpoint))
    notes = [record.attributes.get(MANIFEST_SHA256) for record in scheduler.ledger.trials]
    assert notes == [hash_of_manifest(with_weights.best), None]


def test_an_invalid_point_is_told_with_its_parameters(make_scheduler):
    def configure(record):
        raise InputError(Diagnostic("train", "is not valid", 1))

    heard = Heard()
    scheduler = make_scheduler(trials=1, configure=configure, heard=heard)
    assert scheduler.suggest() is None
    (state,) = heard.states
    assert (state.status, state.tags["embsweep.outcome"]) == ("FAILED", "failed")
    assert state.params == {key: str(value) for key, value in scheduler.ledger.record(0).params.items()}


def write_files(scheduler, number):
    folder = scheduler.phase.trial_dir(number)
    for name in ("state", "best", ".state.0a1b.tmp", ".best.0a1b.old"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def test_files_of_kept_runs_of_others_and_of_open_runs(make_scheduler):
    scheduler = make_scheduler(trials=3, keep_checkpoints=1)
    good, bad, is_open = (write_files(scheduler, start(scheduler).number) for _ in range(3))
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
def test_weights_of_the_best_and_of_the_recipe_are_kept(make_scheduler, limits, kept):
    scheduler = make_scheduler(trials=4, **limits)
    for number in range(4):
        start(scheduler).best.mkdir(parents=True)
        value = (number + 1) / 10
        scheduler.on_trial_result(number, report_at(0.25, value))
        scheduler.on_trial_complete(number, ended(Outcome.STOPPED if number % 2 else Outcome.COMPLETE, value))
    assert [n for n in range(4) if (scheduler.phase.trial_dir(n) / "best").is_dir()] == kept


def test_weights_of_as_many_trials_as_finalists_are_kept(make_scheduler, limited):
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
    assert rank_trials(records, tmp_path) == [1, 0]


def test_suggest_sets_the_fold_of_a_run(make_scheduler):
    scheduler = make_scheduler()
    assert scheduler.suggest().fold is None
    scheduler.ledger = ConfirmationLedger(Memory().open(), "confirmation", [{"trial": 0, "seed": 1, "fold": 2}])
    assert scheduler.suggest().fold == 2
