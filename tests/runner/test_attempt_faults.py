"""Trials that go wrong in every way, side by side with good ones, under a real desk, ledger and processes of Ray."""

import json
import math
import os
import signal
import time
from pathlib import Path

import pytest

from embsweep.config.machinery import SearchConfig, StoppingConfig
from embsweep.runner.inline import InlineRunner
from embsweep.runner.slots import Slots
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.space import FloatRange
from embsweep.sweep.desk import SweepDesk
from embsweep.sweep.stage import search_stage
from embsweep.trial.reporter import Outcome, Report, Started, TrialResult
from tests.listeners import make_listeners

pytestmark = pytest.mark.slow

SPACE = (FloatRange("train.learning_rate", 1e-6, 1e-4),)
KILLS = 10
RUNGS = 12


@pytest.fixture
def make_desk(make_config, tmp_path):
    """A real desk over a real ledger; MLflow and the screen only listen."""

    def make(trials, **limits):
        config = make_config(*(f"sweep.{key}={value}" for key, value in limits.items()))
        search = SearchConfig(sampler="random", trials=trials, seed=1, recipe_first=False)
        pruner = build_pruner(StoppingConfig(kind="none"), 0.25)
        ledger = Ledger.open(tmp_path / "study.db", space=SPACE, search=search, pruner=pruner)
        ledger.note(name="s", headline="", objective="", asked=trials, slots=1)
        stage = search_stage(tmp_path / "trials", config, keep_recipe=False)
        return SweepDesk(ledger, *make_listeners(), lambda record: config, stage)

    return make


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def runner(request, tmp_path):
    if request.param == "inline":
        return InlineRunner()
    from embsweep.runner.ray_tune import RayRunner

    return RayRunner(Slots(count=2, cpus=1, gpus=0.0), tmp_path / "scratch")


def scripted(faults, *, rungs=RUNGS, kills=math.inf):
    """A trial of `rungs` evaluations that keeps what it has reported in its folder and goes on behind it.

    `faults` maps a number to what befalls the trial at the last but one of the evaluations that are left to it; `kill`
    is SIGKILL of its own process, in the first `kills` attempts. Closures, so that Ray ships them by value.
    """
    to_report, befall = reports_of(rungs), faults_of(rungs, kills)

    def work(job, reporter):
        state = Path(job.folder) / "state" / "reports.json"
        state.parent.mkdir(parents=True, exist_ok=True)
        told = json.loads(state.read_text()) if state.exists() else []
        earlier = tuple(to_report(rung) for rung in told[:-1])
        reporter.start(Started(os.getpid(), "here", time.time(), 0.0, 0.0, {}, earlier))
        if told:
            reporter.report(to_report(told[-1]))
        for rung in range(len(told) + 1, rungs + 1):
            if rung == len(told) + 2 and job.number in faults:
                befall(faults[job.number], job, reporter)
            fresh = state.with_suffix(".tmp")
            fresh.write_text(json.dumps(list(range(1, rung + 1))))
            fresh.replace(state)
            reporter.report(to_report(rung))
        reporter.finish(TrialResult(Outcome.COMPLETE, float(rungs), None, None, time.time()))

    return work


def reports_of(rungs):
    def to_report(rung, value=None, metric="map@100"):
        value, fraction = float(rung) if value is None else value, rung / rungs
        return Report(fraction, rung, fraction, value, value, fraction, {64: {metric: value}}, 0.1, 1e-5, float(rung))

    return to_report


def faults_of(rungs, kills):
    to_report = reports_of(rungs)
    errors = {
        "raise": RuntimeError("first line\nsecond line"),
        "memory": MemoryError(),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
    }
    reports = {"nan": to_report(2, math.nan), "inf": to_report(2, math.inf), "metric": to_report(2, metric="ndcg@10")}

    def befall(kind, job, reporter):
        if kind == "kill" and job.attempt <= kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in errors:
            raise errors[kind]
        if kind in reports:
            reporter.report(reports[kind])

    return befall


REASONS = {
    "raise": "RuntimeError: first line | second line",
    "memory": "MemoryError",
    "nan": "objective is nan at step 2",
    "inf": "objective is inf at step 2",
    "metric": "the evaluation has no map@100 at dimension 64",
    "exit": "the trial called sys.exit(3)",
    "interrupt": "KeyboardInterrupt",
}


def test_each_fails_with_its_reason_and_the_others_are_as_ever(make_desk, runner):
    kinds = [kind for kind in REASONS if kind != "interrupt" or not isinstance(runner, InlineRunner)]
    faults = {2 * place + 1: kind for place, kind in enumerate(kinds)}
    desk = make_desk(2 * len(kinds) + 1, max_failed_trials=len(kinds))
    runner.run(desk, scripted(faults, rungs=4))
    records = desk.ledger.trials
    assert len(records) == 2 * len(kinds) + 1
    for record in records:
        kind = faults.get(record.number)
        if kind is None:
            assert (record.state, record.best) == ("complete", 4.0)
            continue
        assert (record.state, record.attributes["reason"]) == ("failed", REASONS[kind])
        assert record.attempt == 1, "it was not the process"
    told = {call.args[0].number: call.args[1] for call in desk.tracking.finish_trial.call_args_list}
    assert {n: told[n].reason for n in faults} == {n: REASONS[kind] for n, kind in faults.items()}


@pytest.fixture
def ray_runner(tmp_path):
    from embsweep.runner.ray_tune import RayRunner

    return RayRunner(Slots(count=2, cpus=1, gpus=0.0), tmp_path / "scratch")


@pytest.mark.ray
def test_ten_times_sigkill_and_the_trial_goes_on_under_its_number(make_desk, ray_runner):
    desk = make_desk(3, max_attempts=KILLS + 1)
    starts, started = [], desk.started

    def listen(number, message):
        starts.append((number, message))
        started(number, message)

    desk.started = listen
    ray_runner.run(desk, scripted({1: "kill"}, kills=KILLS))
    records = desk.ledger.trials
    assert [(r.number, r.state, r.best) for r in records] == [(n, "complete", float(RUNGS)) for n in range(3)]
    assert [(r.attempt, r.losses) for r in records] == [(1, 0), (KILLS + 1, KILLS), (1, 0)]
    own = [message for number, message in starts if number == 1]
    assert len({message.pid for message in own}) == KILLS + 1
    assert [len(message.earlier) for message in own] == [0, *range(KILLS)], "each attempt begins one further"
    assert [row["fraction"] for row in records[1].attributes["log"]] == [r / RUNGS for r in range(1, RUNGS + 1)]


@pytest.mark.ray
def test_a_trial_that_always_dies_fails_and_the_sweep_goes_on(make_desk, ray_runner):
    desk = make_desk(4)
    ray_runner.run(desk, scripted({1: "kill"}))
    records = desk.ledger.trials
    assert [r.state for r in records] == ["complete", "failed", "complete", "complete"]
    reason = records[1].attributes["reason"]
    assert "its process died" in reason
    assert reason.endswith("3 times, which is all that sweep.max_attempts allows")
    assert records[1].attempt == 3
    (end,) = [call.args[1] for call in desk.tracking.finish_trial.call_args_list if call.args[0].number == 1]
    assert (end.outcome, end.reason) == (Outcome.FAILED, reason)


def test_a_second_try_is_recorded_and_nothing_is_told_twice(make_desk):
    """What `run_trial` says where memory ran out: it starts again, without what was reported before."""

    def work(job, reporter):
        to_report = reports_of(3)
        reporter.start(Started(1, "here", 0.0, 0.1, 0.0, {"mini_batch_size": 16}))
        reporter.report(to_report(1))
        facts = {"mini_batch_size": 8, "memory_retry": "loss.mini_batch_size 16 → 8"}
        reporter.start(Started(1, "here", 0.0, 0.1, 0.0, facts))
        reporter.report(to_report(2))
        reporter.finish(TrialResult(Outcome.COMPLETE, 2.0, None, None, 1.0))

    desk = make_desk(1)
    InlineRunner().run(desk, work)
    (record,) = desk.ledger.trials
    assert (record.state, record.attempt) == ("complete", 1)
    assert record.attributes["memory_retry"] == "loss.mini_batch_size 16 → 8"
    assert record.attributes["mini_batch_size"] == 8
    assert [row["step"] for row in record.attributes["log"]] == [1, 2]
    assert desk.tracking.log_facts.call_args.args[1]["memory_retry"] == "loss.mini_batch_size 16 → 8"
