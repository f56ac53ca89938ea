"""Trials with every kind of fault, beside good ones, with a real scheduler and a real ledger."""

import pytest

from embsweep.runners.inline import InlineRunner
from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome, TrialResult, TrialStarted
from tests.doubles import FAULTS, reports_of, scripted_trial

pytestmark = pytest.mark.slow

KILLS = 10
RUNGS = 4
SLOTS = Slots(count=2, cpus=1, gpus=0.0)


def test_each_faulty_trial_fails_with_its_reason_and_the_others_complete(make_sweep_scheduler):
    kinds = [kind for kind in FAULTS if kind != "interrupt"]  # in this process an interrupt is the user's
    faults = {2 * index + 1: kind for index, kind in enumerate(kinds)}
    scheduler = make_sweep_scheduler(2 * len(kinds) + 1, max_failed_trials=len(kinds))
    InlineRunner().run(scheduler, scripted_trial(faults, rungs=RUNGS))
    records = scheduler.ledger.trials
    assert len(records) == 2 * len(kinds) + 1
    for record in records:
        kind = faults.get(record.number)
        if kind is None:
            assert (record.state, record.best) == ("complete", float(RUNGS))
            continue
        assert record.state == "failed"
        assert FAULTS[kind] in record.attributes["reason"]
        assert record.attempt == 1, "its process did not die"


def record_starts(scheduler):
    """Return a list to which each start that the scheduler receives is appended."""
    starts, on_trial_start = [], scheduler.on_trial_start

    def record(number, message):
        starts.append((number, message))
        on_trial_start(number, message)

    scheduler.on_trial_start = record
    return starts


@pytest.mark.ray
def test_a_trial_whose_process_died_resumes_until_max_attempts_is_reached(make_sweep_scheduler, make_ray_runner):
    scheduler = make_sweep_scheduler(4)
    starts = record_starts(scheduler)
    make_ray_runner(SLOTS).run(scheduler, scripted_trial({1: "die", 2: "die once"}, rungs=RUNGS))
    records = scheduler.ledger.trials
    assert [(r.number, r.state) for r in records] == [(0, "complete"), (1, "failed"), (2, "complete"), (3, "complete")]
    assert [(r.attempt, r.losses) for r in records] == [(1, 0), (3, 2), (2, 1), (1, 0)]
    assert records[2].best == float(RUNGS)
    assert [report.step for report in records[2].reports] == [1, 2, 3, 4], "none repeated, none missing"
    own = [message for number, message in starts if number == 1]
    assert len({message.pid for message in own}) == 3
    assert [len(message.earlier) for message in own] == [0, 0, 1], "each attempt begins one evaluation later"
    assert "3 times, the limit of sweep.max_attempts" in records[1].attributes["reason"]


@pytest.mark.ray
@pytest.mark.nightly
def test_a_trial_killed_ten_times_resumes_under_its_number(make_sweep_scheduler, make_ray_runner):
    rungs = KILLS
    scheduler = make_sweep_scheduler(3, max_attempts=KILLS + 1)
    starts = record_starts(scheduler)
    make_ray_runner(SLOTS).run(scheduler, scripted_trial({1: "die"}, rungs=rungs))
    records = scheduler.ledger.trials
    assert [(r.number, r.state, r.best) for r in records] == [(n, "complete", float(rungs)) for n in range(3)]
    assert [(r.attempt, r.losses) for r in records] == [(1, 0), (KILLS + 1, KILLS), (1, 0)]
    own = [message for number, message in starts if number == 1]
    assert len({message.pid for message in own}) == KILLS + 1
    assert [len(message.earlier) for message in own] == [0, *range(KILLS)], "each attempt begins one evaluation later"
    assert [report.fraction for report in records[1].reports] == [r / rungs for r in range(1, rungs + 1)]


def test_a_trial_that_ran_out_of_memory_is_started_again_until_it_fits(make_sweep_scheduler):
    to_report, sizes = reports_of(3), []

    def trial_fn(job, reporter):
        size = job.config.loss.mini_batch_size or 16
        sizes.append((job.attempt, size))
        reporter.start(TrialStarted(1, "here", 0.0, 0.1, 0.0, {"mini_batch_size": size}))
        reporter.report(to_report(1))
        if size > 4:
            return TrialResult.failed("ran out of GPU memory", out_of_memory=True)
        reporter.report(to_report(2))
        return TrialResult(Outcome.COMPLETE, 2.0, None, 1.0)

    scheduler = make_sweep_scheduler(1, max_attempts=1)
    InlineRunner().run(scheduler, trial_fn)
    (record,) = scheduler.ledger.trials
    assert sizes == [(1, 16), (2, 8), (3, 4)]
    assert (record.state, record.attempt, record.losses) == ("complete", 3, 0)
    assert record.facts["oom_retry"] == "loss.mini_batch_size 16 → 8 → 4"
    assert record.facts["mini_batch_size"] == 4
    assert [report.step for report in record.reports] == [1, 2]


@pytest.mark.parametrize(
    ("facts", "out_of_memory"), [({}, True), ({"mini_batch_size": 1}, True), ({"mini_batch_size": 8}, False)]
)
def test_no_other_failure_is_retried(make_sweep_scheduler, facts, out_of_memory):
    """Without mini-batches, with one pair in each, or not out of memory."""

    def trial_fn(job, reporter):
        reporter.start(TrialStarted(1, "here", 0.0, 0.1, 0.0, facts))
        return TrialResult.failed("failed", out_of_memory=out_of_memory)

    scheduler = make_sweep_scheduler(1, max_failed_trials=1)
    InlineRunner().run(scheduler, trial_fn)
    (record,) = scheduler.ledger.trials
    assert (record.state, record.attempt) == ("failed", 1)
    assert "oom_retry" not in record.attributes
